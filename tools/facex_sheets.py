"""Sheets of what FaceX does, one for every named plan: docs/images/facex-*.jpg.

    python tools/facex_sheets.py pairs --count 6
    python tools/facex_sheets.py pairs --only erase --only worn

The first people of a set that can be edited, uncurated, as `limner evaluate facex` reads them (paths start from
LIMNER_DATA): a row each, what was given first, then what was made of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limner.cli.progress_bar import bar
from limner.errors import InputError
from limner.evaluation.accessory_removal import WORN, wears
from limner.evaluation.edit_measurement import AnalysedPhoto, EditSampling, analyse_photo, edit
from limner.evaluation.edit_suites import draw_hole
from limner.evaluation.galleries import read_gallery
from limner.evaluation.region_transfer import TRANSPLANTS
from limner.faces.data_folders import data_root
from limner.faces.geometry import paste_back
from limner.faces.picture import encode_jpeg
from limner.files import write_bytes_atomic
from limner.models.facex.engine import FaceX
from limner.models.facex.plan import CANVAS, EditPlan
from limner.models.facex.sliders import EXPRESSIONS

IMAGES = Path(__file__).parents[1] / "docs" / "images"
OTHER = "other"
FILM = (-25.0, -15.0, -5.0, 5.0, 15.0, 25.0)
"""Yaw of the frames of a film strip, degrees."""


@dataclass(frozen=True)
class Row:
    """One person on a sheet: whose photo is edited, with whose help, and the plans, a picture each. same_noise: as the
    frames of a film have it; otherwise every edit has its own."""

    look: AnalysedPhoto
    other: AnalysedPhoto | None
    plans: Sequence[EditPlan]
    same_noise: bool = False


def with_another(plans: Callable[[], Sequence[EditPlan]]) -> Callable[[Sequence[AnalysedPhoto]], Iterator[Row]]:
    """Rows of everybody with the help of the next one."""

    def rows(looks: Sequence[AnalysedPhoto]) -> Iterator[Row]:
        return (Row(look, looks[(k + 1) % len(looks)], plans()) for k, look in enumerate(looks))

    return rows


def alone(
    plans: Callable[[], Sequence[EditPlan]], same_noise: bool = False
) -> Callable[[Sequence[AnalysedPhoto]], Iterator[Row]]:
    """Rows of everybody by themselves."""
    return lambda looks: (Row(look, None, plans(), same_noise) for look in looks)


def worn(looks: Sequence[AnalysedPhoto]) -> Iterator[Row]:
    """Glasses and beards, from the next one who has them to those who have not; from nobody where nobody has."""
    for k, look in enumerate(looks):
        for part in WORN:
            following = [*looks[k + 1 :], *looks[:k]]
            donor = next((each for each in following if wears(each.face, part)), None)
            if donor is not None and not wears(look.face, part):
                yield Row(look, donor, [EditPlan.regions(OTHER, [part])])


def erase(looks: Sequence[AnalysedPhoto]) -> Iterator[Row]:
    """Glasses and beards taken off those who have them."""
    for look in looks:
        for part in WORN:
            if wears(look.face, part):
                yield Row(look, None, [EditPlan.erase([part])])


def inpaint(looks: Sequence[AnalysedPhoto]) -> Iterator[Row]:
    """An ellipse in every face."""
    for number, look in enumerate(looks):
        portrait = look.subject.portrait
        hole = draw_hole(portrait.regions, np.random.default_rng([0, number])).astype(np.uint8)
        nothing = np.zeros(look.photo.shape[:2], np.uint8)
        yield Row(look, None, [EditPlan.inpaint(paste_back(hole, portrait.crop, nothing, nearest=True) > 0)])


SHEETS: Mapping[str, Callable[[Sequence[AnalysedPhoto]], Iterator[Row]]] = {
    "swap": with_another(lambda: [EditPlan.swap(OTHER)]),
    "swap-head": with_another(lambda: [EditPlan.swap(OTHER, head=True)]),
    "reenact": with_another(lambda: [EditPlan.reenact(OTHER)]),
    "expression": alone(lambda: [EditPlan.motion(name) for name in EXPRESSIONS]),
    "sliders": alone(
        lambda: [EditPlan(sliders={n: v}, repaint=("person",)) for n in ("yaw", "pitch") for v in (-15, 15)]
    ),
    "regions": with_another(lambda: [EditPlan.regions(OTHER, [part]) for part in TRANSPLANTS]),
    "worn": worn,
    "erase": erase,
    "inpaint": inpaint,
    "animate": alone(lambda: [EditPlan.animate()]),
    "chain": with_another(lambda: [EditPlan.swap(OTHER) + EditPlan.motion(yaw=15, smile=0.5)]),
    "film": alone(lambda: [EditPlan.motion(yaw=yaw) for yaw in FILM], same_noise=True),
}


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description="Sheets of what FaceX does, one for every named plan.")
    parser.add_argument("people", type=Path, help="set of pairs, folder of people, or of photos, below LIMNER_DATA")
    parser.add_argument("--count", type=int, default=6, help="how many of its first people (at least 2)")
    parser.add_argument("--only", action="append", choices=tuple(SHEETS), help="one sheet; may be given several times")
    parser.add_argument("--weights", default="facex-nano", help="weights: a registry name or a path")
    parser.add_argument("--base", help="base model to steer, if not the weights' own (a style, for animate)")
    parser.add_argument("--steps", type=int, default=20, help="sampling steps")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the sheets")
    given = parser.parse_args()
    gallery, editor = read_gallery(data_root() / given.people, given.count), FaceX.load(given.weights, given.base)
    looks = [look for each in gallery.people if (look := analyse_photo(editor, each.pictures[0], each.id)) is not None]
    if not looks:
        raise InputError(f"{given.people}: none of {len(gallery.people)} photos shows a face that can be edited")
    for name in given.only or SHEETS:
        rows = list(SHEETS[name](looks))
        if not rows:
            print(f"{name}: none of {len(looks)} people wears what it changes; give a larger --count", flush=True)
            continue
        with bar(name) as progress:
            sheet = draw(editor, rows, given.steps, progress)
        file = given.out / f"facex-{name}.jpg"
        write_bytes_atomic(file, encode_jpeg(sheet, 85))
        print(f"{name}: {len(rows)} rows in {file}", flush=True)


def draw(editor: FaceX, rows: Sequence[Row], steps: int, progress: Callable[[int, int], None]) -> np.ndarray:
    """A sheet: a row each of the other's face, if there is one, the edited one's, and what every plan makes of it."""
    drawn = []
    for number, row in enumerate(rows):
        known = {CANVAS: row.look} if row.other is None else {CANVAS: row.look, OTHER: row.other}
        pictures = [known[name].picture for name in (OTHER, CANVAS) if name in known]
        for place, plan in enumerate(row.plans):
            seed = number if row.same_noise else number * len(row.plans) + place
            looks = {name: known[name] for name in plan.photos}
            pictures.append(edit(editor, plan, looks, EditSampling(steps), seed).shown)
        drawn.append(np.concatenate(pictures, 1))
        progress(number + 1, len(rows))
    return np.concatenate(drawn, 0)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
