"""FaceX, measured task by task on people it never saw. Every suite is a function of a gallery, registered by its name.

A suite gives one record a case, and figures over them. A case whose face was not found again in the result counts as
failed where shares are taken, and is left out of means; ``lost`` says how many there were. Photos that the editor
refuses (no face, turned away) take no part; ``refused`` counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from limner.codecs.perceptual import LPIPS
from limner.errors import InputError
from limner.evaluation.bench import Bench, Case, Record, summarise
from limner.evaluation.edits import (
    Look,
    identity_distance,
    motion_distances,
    rank_of,
)
from limner.evaluation.frechet import PROTOCOL, features, frechet_distance
from limner.evaluation.nearness import perceptual, perceptual_inside, psnr
from limner.faces.geometry import paste_back
from limner.faces.record import Face
from limner.faces.regions import Region
from limner.models.facex.masks import part_mask
from limner.models.facex.plan import CANVAS, EditPlan
from limner.models.facex.sliders import SLIDERS, direction, move

CLOSE = 0.5
"""Identity distance under which an edited face is still its owner."""
SLIDING = {"yaw": 25.0, "pitch": 15.0, "smile": 1.0, "mouth": 1.0, "gaze_x": 20.0, "gaze_y": 15.0}
"""Sliders that are measured, and how far they are moved at most, to both sides."""
TRANSPLANTS = ("lips", "brows", "eyes", "nose", "hair")
ROWS = 8
"""Cases on a sheet."""


def swap(bench: Bench) -> tuple[Record, list[Case]]:
    """A face on another person: whose it is now, and whether it moves as before.

    ``top_1``, ``top_5``: the source is the nearest, or among the five nearest, of all people's other pictures.
    """
    keys, gallery = _faces(bench.seconds)
    cases = []
    for number, (source, target, one, other) in bench.each(bench.pairs()):
        made = bench.edit(EditPlan.swap("source"), {CANVAS: other, "source": one}, number)
        record: Record = {"source": bench.gallery.people[source].id, "target": bench.gallery.people[target].id}
        record |= {"kept": made.kept, "found": made.face is not None}
        record["expression_between"] = motion_distances(one.face, other.face)["expression"]
        record["nearer_to_source"] = False
        if made.face is not None:
            to_source, to_target = (identity_distance(made.face, look.face) for look in (one, other))
            record |= {"to_source": to_source, "to_target": to_target, "nearer_to_source": to_source < to_target}
            record |= motion_distances(made.face, other.face)
        if source in keys:
            record |= _retrieved(made.face, keys.index(source), gallery)
        cases.append(Case(record, (one.picture, other.picture, made.shown)))
    figures = {**summarise(cases, bench, len(bench.gallery.pairs)), "gallery": len(gallery)}
    if "expression" in figures:
        figures["expression_share"] = figures["expression"] / max(figures["expression_between"], 1e-9)
    return figures, cases


def reenact(bench: Bench) -> tuple[Record, list[Case]]:
    """A person who does what another does: the driver's motion, and still the same person."""
    keys, gallery = _faces(bench.seconds)
    cases = []
    for number, (source, driver, one, other) in bench.each(bench.pairs()):
        made = bench.edit(EditPlan.reenact("driver"), {CANVAS: one, "driver": other}, number)
        record: Record = {"source": bench.gallery.people[source].id, "driver": bench.gallery.people[driver].id}
        record |= {"kept": made.kept, "found": made.face is not None}
        record |= {f"{name}_between": gap for name, gap in motion_distances(one.face, other.face).items()}
        record |= _still(made.face, one.face)
        if made.face is not None:
            record |= motion_distances(made.face, other.face)
        if source in keys:
            record |= _retrieved(made.face, keys.index(source), gallery)
        cases.append(Case(record, (one.picture, other.picture, made.shown)))
    return {**summarise(cases, bench, len(bench.gallery.pairs)), "gallery": len(gallery)}, cases


def same(bench: Bench) -> tuple[Record, list[Case]]:
    """A person who does what they do in their second picture, which is what the result should be (aligned crops)."""
    cases, truths, results = [], [], []
    for number, (person, one, other) in bench.each(bench.motions()):
        made = bench.edit(EditPlan.reenact("driver"), {CANVAS: one, "driver": other}, number)
        record = {"person": bench.gallery.people[person].id, "kept": made.kept, "found": made.face is not None}
        record |= _fidelity(bench.lpips, made.painted, other.picture)
        cases.append(Case(record, (one.picture, other.picture, made.shown)))
        truths.append(other.picture)
        results.append(made.painted)
    figures = summarise(cases, bench, len(bench.gallery.people))
    if len(cases) > 1:
        figures["frechet"] = frechet_distance(features(np.stack(results)), features(np.stack(truths)))
        figures["frechet_protocol"] = PROTOCOL
    return figures, cases


def reconstruct(bench: Bench) -> tuple[Record, list[Case]]:
    """The whole person painted anew from their own factors, against the photo (aligned crops)."""
    cases = []
    for number, (person, look) in bench.each(bench.singles()):
        made = bench.edit(EditPlan.animate(), {CANVAS: look}, number)
        record = {"person": bench.gallery.people[person].id, "kept": made.kept, "found": made.face is not None}
        record |= _fidelity(bench.lpips, made.painted, look.picture)
        record |= _still(made.face, look.face)
        cases.append(Case(record, (look.picture, made.shown)))
    return summarise(cases, bench, len(bench.gallery.people)), cases


def sliders(bench: Bench) -> tuple[Record, list[Case]]:
    """Asked against measured: the change that a slider means for this face, and the change that is found.

    Angles are degrees; of an expression both changes are projected on the direction that the slider moves. A smile
    that is there already cannot grow: what is asked for is the change after the measures are kept in their range.
    """
    cases, asked = [], {name: ([], []) for name in SLIDING}
    number = 0
    singles = bench.singles()
    for person, look in singles:
        random = np.random.default_rng([bench.sampling.seed, person])
        for name, most in SLIDING.items():
            value = float(random.uniform(-most, most))
            made = bench.edit(EditPlan(sliders={name: value}, repaint=("person",)), {CANVAS: look}, number)
            wanted = _asked(look, name, value)
            record: Record = {"person": bench.gallery.people[person].id, "slider": name, "value": value}
            record |= {"asked": wanted, "kept": made.kept, "found": made.face is not None}
            record |= _still(made.face, look.face)
            if made.face is not None:
                record["measured"] = _measured(look.face, made.face, name)
                asked[name][0].append(wanted)
                asked[name][1].append(record["measured"])
            cases.append(Case(record, (look.picture, made.shown)))
            number += 1
            bench.progress(number, len(singles) * len(SLIDING))
    figures = summarise(cases, bench, len(bench.gallery.people))
    for name in ("asked", "measured", "value"):
        figures.pop(name, None)
    figures["correlation"] = {name: _correlation(*both) for name, both in asked.items()}
    return figures, cases


def regions(bench: Bench) -> tuple[Record, list[Case]]:
    """A region of another person: inside it, is the result nearer (LPIPS) to its donor than to what was there?"""
    cases = []
    for number, (source, target, donor, look) in bench.each(bench.pairs()):
        part = TRANSPLANTS[number % len(TRANSPLANTS)]
        masks = [part_mask(each.subject.portrait.regions, part) for each in (donor, look)]
        record: Record = {"donor": bench.gallery.people[source].id, "photo": bench.gallery.people[target].id}
        record["part"] = part
        if not (masks[0].any() and masks[1].any()):
            continue
        made = bench.edit(EditPlan.regions("donor", [part]), {CANVAS: look, "donor": donor}, number)
        mask = masks[0] | masks[1]
        to_donor = perceptual_inside(bench.lpips, made.painted, donor.picture, mask)
        to_photo = perceptual_inside(bench.lpips, made.painted, look.picture, mask)
        record |= {"kept": made.kept, "found": made.face is not None, "to_donor": to_donor, "to_photo": to_photo}
        record["nearer_to_donor"] = to_donor < to_photo
        record |= _still(made.face, look.face)
        cases.append(Case(record, (donor.picture, look.picture, made.shown)))
    figures = summarise(cases, bench, len(bench.gallery.pairs))
    figures["nearer_to_donor_by_part"] = {
        part: float(np.mean([case.record["nearer_to_donor"] for case in cases if case.record["part"] == part]))
        for part in TRANSPLANTS
        if any(case.record["part"] == part for case in cases)
    }
    return figures, cases


def inpaint(bench: Bench) -> tuple[Record, list[Case]]:
    """A hole in the face, filled: LPIPS to what was there, beside scikit-image's biharmonic filling of the hole."""
    cases = []
    for number, (person, look) in bench.each(bench.singles()):
        hole = draw_hole(look.subject.portrait.regions, np.random.default_rng([bench.sampling.seed, person]))
        nothing = np.zeros(look.photo.shape[:2], np.uint8)
        in_photo = paste_back(hole.astype(np.uint8), look.subject.portrait.crop, nothing, nearest=True) > 0
        made = bench.edit(EditPlan.inpaint(in_photo), {CANVAS: look}, number)
        plain = fill_plainly(look.picture, hole)
        ours = np.where(hole[..., None], made.painted, look.picture)
        record = {"person": bench.gallery.people[person].id, "kept": made.kept, "found": made.face is not None}
        record |= {"lpips": perceptual(bench.lpips, ours, look.picture)}
        record |= {"lpips_biharmonic": perceptual(bench.lpips, plain, look.picture)}
        cases.append(Case(record, (np.where(hole[..., None], 127, look.picture).astype(np.uint8), plain, ours)))
    figures = summarise(cases, bench, len(bench.gallery.people))
    figures["better_by"] = 1 - figures["lpips"] / max(figures["lpips_biharmonic"], 1e-9)
    return figures, cases


SUITES: dict[str, Callable[[Bench], tuple[Record, list[Case]]]] = {
    "swap": swap,
    "reenact": reenact,
    "same": same,
    "reconstruct": reconstruct,
    "sliders": sliders,
    "regions": regions,
    "inpaint": inpaint,
}


def draw_hole(regions: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """An ellipse (S, S) bool around a point of the face, its axes a tenth to a fifth of the side: our choice."""
    side = regions.shape[0]
    rows, columns = np.nonzero((regions != Region.BACKGROUND) & (regions != Region.CLOTH) & (regions != Region.HAIR))
    at = int(random.integers(len(rows))) if len(rows) else 0
    y, x = (rows[at], columns[at]) if len(rows) else (side // 2, side // 2)
    a, b = random.uniform(0.1, 0.2, 2) * side
    v, u = np.mgrid[:side, :side]
    return ((v - y) / a) ** 2 + ((u - x) / b) ** 2 <= 1


def fill_plainly(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The hole filled smoothly from its edge, by scikit-image's ``inpaint_biharmonic``."""
    try:
        from skimage.restoration import inpaint_biharmonic
    except ImportError:
        raise InputError("this suite compares with scikit-image: pip install 'limner[eval]'") from None
    filled = inpaint_biharmonic(picture, hole, channel_axis=-1)
    return (np.clip(filled, 0, 1) * 255).round().astype(np.uint8)


def sheet(cases: Sequence[Case]) -> np.ndarray:
    """The first cases below each other, uncurated: what was given, then the result."""
    return np.concatenate([np.concatenate(case.shown, 1) for case in cases[:ROWS]], 0)


def _asked(look: Look, name: str, value: float) -> float:
    before = look.subject.portrait.motion
    if not SLIDERS[name].moves:
        return value
    return _projected(move(before, {name: value}).expression - before.expression, name)


def _measured(before: Face, after: Face, name: str) -> float:
    if name in ("yaw", "pitch"):
        return getattr(after.pose, name) - getattr(before.pose, name)
    if name in ("gaze_x", "gaze_y"):
        axis = ("gaze_x", "gaze_y").index(name)
        return float(after.gaze[axis] - before.gaze[axis])
    return _projected(after.expression - before.expression, name)


def _projected(change: np.ndarray, name: str) -> float:
    """Slider units of a change (44,) of expressions along what the slider moves."""
    moved = direction(name)
    return float(change @ moved / (moved @ moved))


def _still(after: Face | None, before: Face) -> Record:
    if after is None:
        return {"still_themselves": False}
    distance = identity_distance(after, before)
    return {"to_photo_identity": distance, "still_themselves": distance < CLOSE}


def _retrieved(face: Face | None, truth: int, gallery: Sequence[Face]) -> Record:
    rank = len(gallery) + 5 if face is None else rank_of(face, truth, gallery)
    return {"top_1": rank == 1, "top_5": rank <= 5}


def _fidelity(lpips: LPIPS, made: np.ndarray, truth: np.ndarray) -> Record:
    return {"psnr": psnr(made, truth), "lpips": perceptual(lpips, made, truth)}


def _faces(looks: Sequence[Look | None]) -> tuple[list[int], list[Face]]:
    """Numbers and faces of the people whose pictures serve."""
    there = [(k, look.face) for k, look in enumerate(looks) if look is not None]
    return [k for k, _ in there], [face for _, face in there]


def _correlation(asked: Sequence[float], measured: Sequence[float]) -> float | None:
    """Pearson's r; None where it is not defined."""
    if len(asked) < 3 or np.std(asked) == 0 or np.std(measured) == 0:
        return None
    return float(np.corrcoef(asked, measured)[0, 1])
