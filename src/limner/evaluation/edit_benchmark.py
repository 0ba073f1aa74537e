"""What all suites of edits share: the editor, people who are read once, how to sample, and how cases become figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from limner.codecs.perceptual import LPIPS
from limner.errors import InputError
from limner.evaluation.edit_measurement import AnalysedPhoto, Edited, EditSampling, analyse_photo, edit
from limner.evaluation.galleries import Gallery
from limner.evaluation.identity_judge import IdentityJudge
from limner.models.facex.engine import FaceX
from limner.models.facex.plan import EditPlan
from limner.progress import ProgressCallback

Record = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """What was measured on one edit, and its pictures: given ones, then the result, each (S, S, 3) uint8."""

    record: Record
    shown: tuple[np.ndarray, ...]


class EditBenchmark:
    """What all suites share: an editor, a gallery that is read once, how to sample, and a judge of identity or none."""

    def __init__(
        self,
        editor: FaceX,
        gallery: Gallery,
        sampling: EditSampling,
        lpips: Callable[[], LPIPS],
        progress: ProgressCallback,
        judge: IdentityJudge | None = None,
    ) -> None:
        self.editor, self.gallery, self.sampling, self.progress = editor, gallery, sampling, progress
        self.judge, self._load_lpips = judge, lpips
        self.vectors: dict[tuple[bool, str], dict[int, np.ndarray]] = {}
        """(whether by the judge, which pictures) → number of a person → identity vector (identity_metrics.py)."""

    @cached_property
    def lpips(self) -> LPIPS:
        """Loaded for suites that need it."""
        return self._load_lpips()

    @cached_property
    def firsts(self) -> list[AnalysedPhoto | None]:
        """The first picture of each person."""
        return [analyse_photo(self.editor, person.pictures[0], person.id) for person in self.gallery.people]

    @cached_property
    def seconds(self) -> list[AnalysedPhoto | None]:
        """The second picture of each person, or the first of those who have one."""
        people = self.gallery.people
        return [
            analyse_photo(self.editor, person.pictures[1], person.id) if len(person.pictures) > 1 else first
            for person, first in zip(people, self.firsts, strict=True)
        ]

    @cached_property
    def later(self) -> list[list[AnalysedPhoto | None]]:
        """The pictures of each person after the first, where a gallery has more than two of them."""
        if self.gallery.frames == 2:
            return [[] for _ in self.gallery.people]
        people = self.gallery.people
        return [[analyse_photo(self.editor, each, person.id) for each in person.pictures[1:]] for person in people]

    def pairs(self) -> list[tuple[int, int, AnalysedPhoto, AnalysedPhoto]]:
        """(numbers and pictures of source and target) of the pairs whose photos serve: the first picture of both, and
        in a gallery of several frames the first of the source with every one of the target's."""
        found = []
        for source, target in self.gallery.pairs:
            one = self.firsts[source]
            for other in (self.firsts[target], *self.later[target]):
                if one is not None and other is not None:
                    found.append((source, target, one, other))
        return self._some(found, len(self.gallery.pairs))

    def singles(self) -> list[tuple[int, AnalysedPhoto]]:
        """(number and first picture) of the people whose photos serve."""
        return self._some([(k, look) for k, look in enumerate(self.firsts) if look is not None], len(self.firsts))

    def motions(self) -> list[tuple[int, AnalysedPhoto, AnalysedPhoto]]:
        """(number, first and second picture) of the people who have two that serve; in a gallery of several frames the
        first picture with every later one."""
        people = self.gallery.people
        found = []
        if self.gallery.frames > 2:
            for k, (one, later) in enumerate(zip(self.firsts, self.later, strict=True)):
                found += [(k, one, other) for other in later if one is not None and other is not None]
            return self._some(found, len(people))
        for k, (one, other) in enumerate(zip(self.firsts, self.seconds, strict=True)):
            if len(people[k].pictures) > 1 and one is not None and other is not None:
                found.append((k, one, other))
        return self._some(found, len(people))

    def edit(self, plan: EditPlan, looks: Mapping[str, AnalysedPhoto], number: int) -> Edited:
        """Edit number ``number``."""
        return edit(self.editor, plan, looks, self.sampling, number)

    def each(self, cases: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """The cases, counted; the bar moves."""
        for number, case in enumerate(cases):
            yield number, case
            self.progress(number + 1, len(cases))

    @staticmethod
    def _some(found: list[Any], of: int) -> list[Any]:
        if not found:
            raise InputError(f"none of {of} can be measured: no faces that serve, or no second pictures of them")
        return found


def summarise(cases: Sequence[Case], bench: EditBenchmark, of: int) -> Record:
    """Means of numbers over the cases that have them; shares of yes over all cases, so that a lost face is a no.

    Records within records give figures within figures.
    """
    if not cases:
        raise InputError("none of the faces shows what this suite changes")
    counts: Record = {
        "cases": len(cases),
        "refused": sum(look is None for look in bench.firsts),
        "of": of,
        "lost": sum(not case.record["found"] for case in cases),
    }
    return counts | _averaged([case.record for case in cases])


def _averaged(records: Sequence[Record]) -> Record:
    figures: Record = {}
    for name in dict.fromkeys(name for record in records for name in record):
        values = [record[name] for record in records if name in record]
        if name == "found" or isinstance(values[0], str):
            continue
        if isinstance(values[0], dict):
            figures[name] = _averaged(values)
        elif isinstance(values[0], bool):
            figures[name] = sum(values) / len(records)
        else:
            figures[name] = float(np.mean(values))
    return figures
