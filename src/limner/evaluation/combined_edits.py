"""Several edits at once: what one pass makes of them, beside the same edits one after another."""

from __future__ import annotations

import time
from dataclasses import replace

from limner.errors import InputError
from limner.evaluation.edit_benchmark import Case, EditBenchmark, Record, summarise
from limner.evaluation.edit_measurement import AnalysedPhoto, Edited
from limner.evaluation.identity_metrics import swapped
from limner.models.facex.plan import CANVAS, EditPlan

YAW, SMILE = 15.0, 0.5
"""By how much heads are turned (degrees, towards the camera) and smiles grow: our choice."""


def mixed(bench: EditBenchmark) -> tuple[Record, list[Case]]:
    """Another's face, a turned head and a smile: ``one_pass`` for all three, and one after another (``in_turn``).

    Of both: whose face it is; ``yaw_error``, degrees between asked and found; seconds with the reading of every result;
    ``lost``, the share of results without a face (or with one that could not be edited further).
    """
    cases = []
    for number, (source, target, one, other) in bench.each(bench.pairs()):
        yaw = YAW if other.face.pose.yaw < 0 else -YAW
        plans = [EditPlan.swap("source"), EditPlan.motion(yaw=yaw), EditPlan.motion(smile=SMILE)]
        began = time.perf_counter()
        made = bench.edit(EditPlan.chain(plans), {CANVAS: other, "source": one}, number)
        between = time.perf_counter()
        last = _in_turn(bench, plans, one, other, number)
        seconds = {"one_pass": between - began, "in_turn": time.perf_counter() - between}
        record: Record = {"source": bench.gallery.people[source].id, "target": bench.gallery.people[target].id}
        record |= {"kept": made.kept, "found": made.face is not None}
        for name, result in (("one_pass", made), ("in_turn", last)):
            found = swapped(bench, result, one, other)
            if result.face is not None:
                found["yaw_error"] = abs(result.face.pose.yaw - other.face.pose.yaw - yaw)
            record[name] = found | {"seconds": seconds[name], "lost": result.face is None}
        cases.append(Case(record, (one.picture, other.picture, made.shown, last.shown)))
    return summarise(cases, bench, len(bench.gallery.pairs)), cases


def _in_turn(
    bench: EditBenchmark, plans: list[EditPlan], source: AnalysedPhoto, look: AnalysedPhoto, number: int
) -> Edited:
    """The last of the edits that could be made: the first with ``source``, the others of what came before. Its face is
    None where it was not the last that was asked for."""
    first, *others = plans
    made = bench.edit(first, {CANVAS: look, "source": source}, number)
    for plan in others:
        if made.face is None:
            break
        try:
            subject = bench.editor.taken_apart(made.photo, made.face, "a result")
        except InputError:  # cut off, or turned away
            return replace(made, face=None)
        made = bench.edit(plan, {CANVAS: AnalysedPhoto(made.face, subject)}, number)
    return made
