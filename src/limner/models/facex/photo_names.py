"""What the photos of a plan are called in its recipe, which goes with the picture: never where they lie."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import chain, count
from pathlib import Path

from .plan import ABSENT, CANVAS, EditPlan


def short_names(plan: EditPlan, known: Collection[str]) -> dict[str, str]:
    """The plan's name of each of its photos → what it is called: those ``known`` as they are, a path by its file's
    name."""
    names = {name: name for name in plan.photos if name in known}
    for name in plan.photos:
        if name not in names:
            names[name] = free_name(Path(name), names.values())
    return {name: names[name] for name in plan.photos}


def free_name(file: Path, taken: Collection[str]) -> str:
    """A file's name without its folders: her.jpg, or her-2.jpg where that is taken, and so on."""
    tries = chain([file.name], (f"{file.stem}-{number}{file.suffix}" for number in count(2)))
    return next(name for name in tries if name not in (CANVAS, ABSENT, *taken))


def renamed(plan: EditPlan, names: Mapping[str, str]) -> EditPlan:
    """The plan with other names for its photos."""
    factors = {factor: names.get(photo, photo) for factor, photo in plan.factors.items()}
    structure = None if plan.structure is None else names.get(plan.structure, plan.structure)
    return plan.model_copy(update={"factors": factors, "structure": structure})
