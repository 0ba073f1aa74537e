"""A job as the page runs it: submitted, followed step by step with previews, and told in sentences."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from limner.errors import InputError
from limner.serving.engines import VERBS
from limner.serving.images import jpeg_url
from limner.serving.requests import Request
from limner.serving.server import Server
from limner.serving.studio import components

LOOK = 0.15  # seconds between looks at a job


@dataclass(frozen=True)
class Step:
    """Where a job is. note: HTML to show. preview: data URL. pictures: ids, when it is done."""

    note: str
    job: str = ""
    preview: str | None = None
    pictures: tuple[str, ...] = ()
    ended: bool = False


def follow(server: Server, kind: str, make: Callable[[], Request]) -> Iterator[Step]:
    """Run a request to its end, one ``Step`` at each change; the last has ``ended``. Errors become its note."""
    try:
        job = server.worker.submit(kind, make()).id
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        yield Step(components.notice(said[:1].upper() + said[1:] + ".", "bad"), ended=True)
        return
    except InputError as error:
        yield Step(components.notice(str(error), "bad"), ended=True)
        return
    before = None
    while (found := server.table.get(job)).state in ("queued", "running"):
        at = server.worker.progress(job)
        engine = VERBS[kind].engine
        loading = server.engines.state(engine) != "ready" and not at.done
        words = "Queued…" if found.state == "queued" else f"Loading {engine}…" if loading else "Starting…"
        if at.done:
            words = f"Step {at.done} of {at.total}"
        if (words, at.previewed) != before:
            before = (words, at.previewed)
            preview = None if at.preview is None else jpeg_url(at.preview)
            yield Step(components.progress(at.done, at.total, words, job), job, preview)
        time.sleep(LOOK)
    if found.state == "done":
        seconds = (found.ended or 0) - (found.started or 0)
        made = tuple(picture.id for picture in server.table.pictures(job))
        yield Step(components.notice(f"Done in {seconds:.1f} s.", "good"), job, None, made, True)
    elif found.state == "cancelled":
        yield Step(components.notice("Cancelled."), job, ended=True)
    else:
        yield Step(components.notice(found.error or f"The job was {found.state}.", "bad"), job, ended=True)


def cancel(server: Server, job: str) -> None:
    """Stop a job, if it has not ended by itself."""
    if job and server.table.get(job).state in ("queued", "running"):
        server.worker.cancel(job)
