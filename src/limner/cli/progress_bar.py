"""Progress on the terminal: one kind of bar for all long work, on standard error, silent where nobody looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from limner.cli.terminal import console

Item = TypeVar("Item")


class Show(Protocol):
    """Tells a bar how far the work is."""

    def __call__(self, done: int, total: int, *, what: str | None = None, note: str = "") -> None:
        """done of total; `what` takes the place of the bar's title, `note` stands behind it.

        A new `what` is new work: its rate and the time left are measured from then on.
        """


def _nothing(done: int, total: int, *, what: str | None = None, note: str = "") -> None:
    """Where there is no bar."""


@contextmanager
def bar(title: str, shown: bool = True) -> Iterator[Show]:
    """A bar with count, rate and time left; nothing is drawn when not `shown` or when this is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if not task.speed else f"{task.speed:.1f}/s")

    screen = console(stderr=True)
    if not shown or not screen.is_terminal:
        yield _nothing
        return
    said, noted = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[note]}"))
    columns = (said, BarColumn(), MofNCompleteColumn(), Rate(), TimeLeft(), noted)
    with Progress(*columns, console=screen, transient=True, speed_estimate_period=60) as drawn:
        task = drawn.add_task(title, total=None, note="")
        at_work = title

        def show(done: int, total: int, *, what: str | None = None, note: str = "") -> None:
            nonlocal at_work
            if (what or title) != at_work:
                at_work = what or title
                drawn.reset(task)
            drawn.update(task, description=at_work, completed=done, total=total, note=note)

        yield show


def each(items: Sequence[Item], title: str, shown: bool = True) -> Iterator[Item]:
    """The items one by one, with a bar where there are several."""
    with bar(title, shown and len(items) > 1) as show:
        for number, item in enumerate(items):
            yield item
            show(number + 1, len(items))
