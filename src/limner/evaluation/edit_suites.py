"""FaceX, measured task by task on people it never saw. Every suite is a function of a gallery; names in `suites`.

A suite gives one record a case, and figures over them. A case whose face was not found again in the result counts as
failed where shares are taken, and is left out of means; ``lost`` says how many there were. Photos that the editor
refuses (no face, turned away) take no part; ``refused`` counts them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from limner.codecs.perceptual import LPIPS
from limner.errors import InputError
from limner.evaluation.edit_benchmark import Case, EditBenchmark, Record, summarise
from limner.evaluation.edit_measurement import AnalysedPhoto, Edited, gaze_of, motion_distances
from limner.evaluation.frechet import PROTOCOL, features, frechet_distance
from limner.evaluation.identity_metrics import still, swapped
from limner.evaluation.image_similarity import perceptual, psnr
from limner.faces.geometry import paste_back
from limner.faces.reader import FaceReader
from limner.faces.record import Face
from limner.faces.regions import Region
from limner.models.facex.plan import CANVAS, EditPlan
from limner.models.facex.sliders import SLIDERS, direction, move

SLIDING = {"yaw": 25.0, "pitch": 15.0, "smile": 1.0, "mouth": 1.0, "gaze_x": 20.0, "gaze_y": 15.0}
"""Sliders that are measured, and how far they are moved at most, to both sides."""
GAZES = ("gaze_x", "gaze_y")
ROWS = 8
"""Cases on a sheet."""


def swap(bench: EditBenchmark, head: bool = False) -> tuple[Record, list[Case]]:
    """A face, or a head, on another person: whose it is now, and whether it moves as before.

    ``top_1``, ``top_5``: the source is the nearest, or among the five nearest, of all people's other pictures;
    ``top_1_of_sources``, ``top_5_of_sources``: of the first pictures, among them that which the face came from.
    ``frechet``: of what was painted to the targets' photos, aligned crops as in ``same``.
    """
    cases, painted = [], []
    for number, (source, target, one, other) in bench.each(bench.pairs()):
        made = bench.edit(EditPlan.swap("source", head), {CANVAS: other, "source": one}, number)
        record: Record = {"source": bench.gallery.people[source].id, "target": bench.gallery.people[target].id}
        record |= {"kept": made.kept, "found": made.face is not None}
        record["expression_between"] = motion_distances(one.face, other.face)["expression"]
        record |= swapped(bench, made, one, other, source)
        if made.face is not None:
            record |= motion_distances(made.face, other.face)
        cases.append(Case(record, (one.picture, other.picture, made.shown)))
        painted.append(made.painted)
    figures = summarise(cases, bench, len(bench.gallery.pairs)) | _in_gallery(bench)
    figures |= _frechet(painted, [case.shown[1] for case in cases])
    if "expression" in figures:
        figures["expression_share"] = figures["expression"] / max(figures["expression_between"], 1e-9)
    return figures, cases


def swap_head(bench: EditBenchmark) -> tuple[Record, list[Case]]:
    """``swap`` of whole heads: hair and ears too."""
    return swap(bench, head=True)


def reenact(bench: EditBenchmark) -> tuple[Record, list[Case]]:
    """A person who does what another does: the driver's motion, and still the same person.

    ``frechet``: of what was painted to those people's photos, aligned crops as in ``same``.
    """
    cases, painted = [], []
    for number, (source, driver, one, other) in bench.each(bench.pairs()):
        made = bench.edit(EditPlan.reenact("driver"), {CANVAS: one, "driver": other}, number)
        record: Record = {"source": bench.gallery.people[source].id, "driver": bench.gallery.people[driver].id}
        record |= {"kept": made.kept, "found": made.face is not None}
        record |= {f"{name}_between": gap for name, gap in motion_distances(one.face, other.face).items()}
        record |= still(bench, made, one, source)
        if made.face is not None:
            record |= motion_distances(made.face, other.face)
        cases.append(Case(record, (one.picture, other.picture, made.shown)))
        painted.append(made.painted)
    figures = summarise(cases, bench, len(bench.gallery.pairs)) | _in_gallery(bench)
    return figures | _frechet(painted, [case.shown[0] for case in cases]), cases


def same(bench: EditBenchmark) -> tuple[Record, list[Case]]:
    """A person who does what they do in their second picture, which is what the result should be (aligned crops)."""
    cases, truths, results = [], [], []
    for number, (person, one, other) in bench.each(bench.motions()):
        made = bench.edit(EditPlan.reenact("driver"), {CANVAS: one, "driver": other}, number)
        record = {"person": bench.gallery.people[person].id, "kept": made.kept, "found": made.face is not None}
        record |= _fidelity(bench.lpips, made.painted, other.picture)
        cases.append(Case(record, (one.picture, other.picture, made.shown)))
        truths.append(other.picture)
        results.append(made.painted)
    return summarise(cases, bench, len(bench.gallery.people)) | _frechet(results, truths), cases


def reconstruct(bench: EditBenchmark) -> tuple[Record, list[Case]]:
    """The whole person painted anew from their own factors, without a draft, against the photo (aligned crops)."""
    return _remade(bench, EditPlan.animate())


def itself(bench: EditBenchmark) -> tuple[Record, list[Case]]:
    """Each face swapped onto the very photo it is from, as any swap is made: what should change nothing, against the
    photo (aligned crops)."""
    return _remade(bench, EditPlan.swap("source"))


def _remade(bench: EditBenchmark, plan: EditPlan) -> tuple[Record, list[Case]]:
    cases = []
    for number, (person, look) in bench.each(bench.singles()):
        made = bench.edit(plan, {name: look for name in plan.photos}, number)
        record = {"person": bench.gallery.people[person].id, "kept": made.kept, "found": made.face is not None}
        record |= _fidelity(bench.lpips, made.painted, look.picture)
        record |= still(bench, made, look)
        cases.append(Case(record, (look.picture, made.shown)))
    return summarise(cases, bench, len(bench.gallery.people)), cases


def sliders(bench: EditBenchmark) -> tuple[Record, list[Case]]:
    """Asked against measured: the change that a slider means for this face, and the change that is found.

    Angles are degrees; of an expression both changes are projected on the direction that the slider moves. A smile
    that is there already cannot grow: what is asked for is the change after the measures are kept in their range.
    Gaze is measured by `edits.gaze_of`; ``correlation_as_read``: by the reader, whose corners of eyes go along.
    """
    cases: list[Case] = []
    singles = bench.singles()
    for person, look in singles:
        random = np.random.default_rng([bench.sampling.seed, person])
        for name, most in SLIDING.items():
            value = float(random.uniform(-most, most))
            made = bench.edit(EditPlan(sliders={name: value}, repaint=("person",)), {CANVAS: look}, len(cases))
            record: Record = {"person": bench.gallery.people[person].id, "slider": name, "value": value}
            record |= {"asked": _asked(look, name, value), "kept": made.kept, "found": made.face is not None}
            record |= still(bench, made, look)
            if made.face is not None:
                record["measured"] = _measured(look.face, made.face, name)
                if name in GAZES:
                    record["as_read"] = record["measured"]
                    record["measured"] = _looks_further(bench.editor.reader, look, made)[GAZES.index(name)]
            cases.append(Case(record, (look.picture, made.shown)))
            bench.progress(len(cases), len(singles) * len(SLIDING))
    figures = summarise(cases, bench, len(bench.gallery.people))
    for name in ("asked", "measured", "as_read", "value"):
        figures.pop(name, None)
    records = [case.record for case in cases]
    figures["correlation"] = {name: _correlation(records, name, "measured") for name in SLIDING}
    figures["correlation_as_read"] = {name: _correlation(records, name, "as_read") for name in GAZES}
    return figures, cases


def inpaint(bench: EditBenchmark) -> tuple[Record, list[Case]]:
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


def _asked(look: AnalysedPhoto, name: str, value: float) -> float:
    before = look.subject.portrait.motion
    if not SLIDERS[name].moves:
        return value
    return _projected(move(before, {name: value}).expression - before.expression, name)


def _measured(before: Face, after: Face, name: str) -> float:
    if name in ("yaw", "pitch"):
        return getattr(after.pose, name) - getattr(before.pose, name)
    if name in GAZES:
        return float(after.gaze[GAZES.index(name)] - before.gaze[GAZES.index(name)])
    return _projected(after.expression - before.expression, name)


def _looks_further(reader: FaceReader, look: AnalysedPhoto, made: Edited) -> list[float]:
    """By how many degrees the gaze of an edited face that was found has changed, across and up."""
    assert made.face is not None
    after, before = gaze_of(reader, made.photo, made.face), gaze_of(reader, look.photo, look.face)
    return (after - before).tolist()


def _projected(change: np.ndarray, name: str) -> float:
    """Slider units of a change (44,) of expressions along what the slider moves."""
    moved = direction(name)
    return float(change @ moved / (moved @ moved))


def _in_gallery(bench: EditBenchmark) -> Record:
    """Among how many people the right one was looked for."""
    return {"gallery": sum(look is not None for look in bench.seconds)}


def _frechet(made: list[np.ndarray], real: list[np.ndarray]) -> Record:
    """Fréchet distance of results to real pictures, (S, S, 3) each; nothing for less than two of them."""
    if len(made) < 2:
        return {}
    distance = frechet_distance(features(np.stack(made)), features(np.stack(real)))
    return {"frechet": distance, "frechet_protocol": PROTOCOL}


def _fidelity(lpips: LPIPS, made: np.ndarray, truth: np.ndarray) -> Record:
    return {"psnr": psnr(made, truth), "lpips": perceptual(lpips, made, truth)}


def _correlation(records: Sequence[Record], slider: str, measure: str) -> float | None:
    """Pearson's r of what was asked of a slider and a measure of the change; None where it is not defined."""
    chosen = [record for record in records if record["slider"] == slider and measure in record]
    asked, measured = ([record[name] for record in chosen] for name in ("asked", measure))
    if len(asked) < 3 or np.std(asked) == 0 or np.std(measured) == 0:
        return None
    return float(np.corrcoef(asked, measured)[0, 1])
