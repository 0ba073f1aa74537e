"""Glasses and beards of edited faces: taken off, and read again."""

from __future__ import annotations

import numpy as np

from limner.evaluation.edit_benchmark import Case, EditBenchmark, Record, summarise
from limner.evaluation.identity_metrics import still
from limner.faces.record import Face
from limner.models.facex.masks import part_mask
from limner.models.facex.plan import CANVAS, EditPlan

WORN = ("glasses", "beard")


def wears(face: Face, part: str) -> bool:
    """Whether a face was read as wearing glasses (of any kind), or a beard (stubble is one)."""
    found = face.attributes.get(part)
    return found is not None and found.value not in (False, "none")


def erase(bench: EditBenchmark) -> tuple[Record, list[Case]]:
    """Glasses and beards of those who have them taken off: no longer found when the result is read again?"""
    wanted = [
        (person, look, part)
        for person, look in bench.singles()
        for part in WORN
        if wears(look.face, part) and part_mask(look.subject.portrait.regions, part).any()
    ]
    cases = []
    for number, (person, look, part) in bench.each(wanted):
        made = bench.edit(EditPlan.erase([part]), {CANVAS: look}, number)
        record: Record = {"person": bench.gallery.people[person].id, "part": part}
        record |= {"kept": made.kept, "found": made.face is not None}
        record["gone"] = made.face is not None and not wears(made.face, part)
        record |= still(bench, made, look)
        cases.append(Case(record, (look.picture, made.shown)))
    figures = summarise(cases, bench, len(bench.gallery.people))
    figures["gone_by_part"] = share_by_part(cases, "gone")
    return figures, cases


def share_by_part(cases: list[Case], name: str) -> dict[str, float]:
    """Part → share of its cases for which a figure is True; cases without that figure take no part."""
    records = [case.record for case in cases if name in case.record]
    parts = dict.fromkeys(record["part"] for record in records)
    return {part: float(np.mean([record[name] for record in records if record["part"] == part])) for part in parts}
