"""Regions of another person, put on: whose do they look like afterwards?"""

from __future__ import annotations

import numpy as np

from limner.codecs.perceptual import LPIPS
from limner.evaluation.accessory_removal import WORN, share_by_part, wears
from limner.evaluation.edit_benchmark import Case, EditBenchmark, Record, summarise
from limner.evaluation.edit_measurement import AnalysedPhoto, Edited
from limner.evaluation.identity_metrics import still
from limner.evaluation.image_similarity import in_mean_colour, perceptual_inside
from limner.faces.geometry import warp
from limner.models.facex.masks import part_mask
from limner.models.facex.plan import CANVAS, EditPlan
from limner.models.facex.warped_init import placed

TRANSPLANTS = ("lips", "brows", "eyes", "nose", "hair")
HAT = 0.005
"""Share of a picture from which a hat hides hair."""


def regions(bench: EditBenchmark) -> tuple[Record, list[Case]]:
    """A region of another person: is it nearer (LPIPS) to its donor's than to what was there?

    Compared where the result shows the region. ``nearer_to_donor``: the donor's picture shifted, turned and scaled by
    the points around the region, since a nose belongs where the photo's was, and both in the result's mean colour
    there, since it comes in the photo's light. ``nearer_as_lit``: in their own colours. ``nearer_in_place``: nor
    shifted, the same pixels of all three pictures. One of ``TRANSPLANTS`` for each pair, hair only of those without a
    hat; glasses and beards, too, where the donor alone has them: ``shows_by_part`` says how often they are found when
    the result is read again.
    """
    cases = []
    for number, (source, target, donor, look) in bench.each(bench.pairs()):
        worn = [part for part in WORN if wears(donor.face, part) and not wears(look.face, part)]
        for part in (TRANSPLANTS[number % len(TRANSPLANTS)], *worn):
            masks = [part_mask(each.subject.portrait.regions, part) for each in (donor, look)]
            if not (masks[0].any() and (masks[1].any() or part in worn)) or (part == "hair" and _hatted(donor)):
                continue
            made = bench.edit(EditPlan.regions("donor", [part]), {CANVAS: look, "donor": donor}, number)
            record: Record = {"donor": bench.gallery.people[source].id, "photo": bench.gallery.people[target].id}
            record |= {"part": part, "kept": made.kept, "found": made.face is not None}
            to_donor, to_photo = (
                perceptual_inside(bench.lpips, made.painted, each.picture, masks[0] | masks[1])
                for each in (donor, look)
            )
            record["nearer_in_place"] = to_donor < to_photo
            record |= _whose_part(bench.lpips, made, part, donor, look)
            if part in worn:
                record["shows"] = made.face is not None and wears(made.face, part)
            record |= still(bench, made, look)
            cases.append(Case(record, (donor.picture, look.picture, made.shown)))
    figures = summarise(cases, bench, len(bench.gallery.pairs))
    figures["nearer_to_donor_by_part"] = share_by_part(cases, "nearer_to_donor")
    if figures.pop("shows", None) is not None:
        figures["shows_by_part"] = share_by_part(cases, "shows")
    return figures, cases


def _whose_part(lpips: LPIPS, made: Edited, part: str, donor: AnalysedPhoto, look: AnalysedPhoto) -> Record:
    """Whether a part of the result, as it is found there, is nearer to the donor's than to the photo's, and how far it
    is from each; not found: a no."""
    giver, portrait = donor.subject.portrait, look.subject.portrait
    mine = np.zeros(portrait.regions.shape, bool)
    if made.face is not None:
        mine = part_mask(warp(made.face.regions, portrait.crop, portrait.size, nearest=True, border=0), part)
    if portrait.mesh is None or not mine.any():
        return {"nearer_to_donor": False, "nearer_as_lit": False}
    matrix = placed(giver, part_mask(giver.regions, part), portrait.mesh)
    as_lit = (warp(giver.picture, matrix, portrait.size, border="edge"), look.picture)
    alike = [in_mean_colour(each, made.shown, mine) for each in as_lit]
    (to_donor, to_photo), lit = (
        [perceptual_inside(lpips, made.shown, each, mine) for each in both] for both in (alike, as_lit)
    )
    nearer: Record = {"nearer_to_donor": to_donor < to_photo, "nearer_as_lit": lit[0] < lit[1]}
    return nearer | {"to_donor": to_donor, "to_photo": to_photo}


def _hatted(look: AnalysedPhoto) -> bool:
    """Whether a hat hides some of the hair."""
    return bool(part_mask(look.subject.portrait.regions, "hat").mean() > HAT)
