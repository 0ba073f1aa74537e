"""Several pictures of one synthetic person: the same w moved along directions of motion and light.

Person i is face i of `limner data synth`. Variant 0 is that face as it is; the others are given targets for some of
the motion factors, drawn over the ranges in TARGETS, and w takes the steps that the regression says lead there. A
picture is kept when the identity network says "same person" and the motion, as measured, is another. Everything about
a person follows from (seed, i).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from limner.data.blocks import Result
from limner.data.build import BuildSpec, load_face_reader
from limner.data.directions import Directions
from limner.data.pair_factors import MOTION, measure_factors, motion_change
from limner.data.shards import PAIR_FIELDS, as_arrays
from limner.data.stages import NOTHING_CARRIED, Reader, RecordSettings, Row, finish, read_faces, write_words
from limner.data.synthetic import LICENCE, SIDE, FaceGenerator, face_file
from limner.errors import InputError
from limner.faces.geometry import resize
from limner.faces.topology import Topology

SOURCE = "synth"  # with the index it makes the person's name, as in a set built from `limner data synth --out synth`
MOST_STEPS = 2.6  # standard deviations a face is moved along one direction; beyond, pictures fall apart
# What targets are drawn from, uniformly, in the factor's own unit (see `factors`).
TARGETS: Mapping[str, tuple[float, float]] = {
    "yaw": (-28.0, 28.0),
    "pitch": (-15.0, 15.0),
    "smile": (-0.2, 0.9),
    "mouth": (-0.05, 0.75),
    "eyes_closed": (-0.4, 1.0),
    "gaze_x": (-22.0, 22.0),
    "gaze_y": (-12.0, 12.0),
    "light_x": (-0.6, 0.6),
    "light_y": (-0.1, 0.6),
}


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """What decides the content of a pair set."""

    variants: int = 4
    """Pictures tried a person, the unmoved one among them."""
    moved: float = 0.4
    """Probability (0..1) that a factor is moved in a variant; at least one is."""
    limit: float = 0.5
    """Identity distance (Euclidean) under which two pictures show the same person; dlib's own threshold is 0.6."""
    differs: float = 0.5
    """Standard deviations by which at least one motion factor must have changed."""
    seed: int = 0
    """Which targets are drawn."""
    record: RecordSettings = field(default_factory=lambda: RecordSettings(captions=1, prompts=2, questions=2))
    """Settings of the records."""

    def __post_init__(self) -> None:
        if self.variants < 2:
            raise InputError(f"variants is {self.variants}: a pair needs 2 or more")
        for name, low, high in (("moved", 0.0, 1.0), ("limit", 0.0, 2.0), ("differs", 0.0, 10.0)):
            if not low < (value := getattr(self, name)) <= high:
                raise InputError(f"{name} is {value}: choose more than {low:g}, at most {high:g}")


@dataclass(frozen=True)
class SyntheticPerson:
    """A synthetic person, by index."""

    index: int

    @property
    def id(self) -> str:
        """The same as the row of face `index` has in a built set."""
        return f"{SOURCE}/{face_file(self.index).removesuffix('.png')}"


@dataclass(frozen=True)
class PairModels:
    """What a worker needs."""

    reader: Reader
    generator: FaceGenerator
    directions: Directions
    topology: Topology


def load_tools(directions: str) -> PairModels:
    """Reader, generator on one thread, and directions by name or path."""
    generator = FaceGenerator.load(threads=1)
    return PairModels(load_face_reader(), generator, Directions.load(directions), Topology.load())


def build_spec(directions: str) -> BuildSpec:
    """How `build.build` makes a pair set from `Person`s and `PairSettings`."""
    facts = json.loads(json.dumps({"directions": Directions.load(directions).facts}))
    return BuildSpec(
        load=partial(load_tools, directions), make=make_people, fields=PAIR_FIELDS, block=8, batch=2, facts=facts
    )


def draw_moves(w: np.ndarray, directions: Directions, settings: PairSettings, index: int) -> list[dict[str, float]]:
    """Steps (standard deviations) by factor for each variant of person `index` with this w (512,); {} for the first."""
    rng = np.random.default_rng([settings.seed, index])
    now = directions.expect(w)
    moves: list[dict[str, float]] = [{}]
    for _ in range(settings.variants - 1):
        chosen = rng.random(len(MOTION)) < settings.moved
        chosen[rng.integers(len(MOTION))] = True
        targets = [rng.uniform(*TARGETS[name]) for name in MOTION]  # drawn for all: choices do not shift each other
        steps = {}
        for name, target, move in zip(MOTION, targets, chosen, strict=True):
            if move:
                k = directions.index(name)
                steps[name] = float(np.clip((target - now[k]) / directions.spreads[k], -MOST_STEPS, MOST_STEPS))
        moves.append(steps)
    return moves


def make_people(people: Sequence[SyntheticPerson], tools: PairModels, settings: PairSettings) -> Result:
    """Rows of all pictures of some people that were kept, and why others were not."""
    rows: list[Row] = []
    errors: list[Mapping[str, str]] = []
    for person in people:
        w = tools.generator.w_of(person.index)
        tried: list[Row] = []
        for variant, steps in enumerate(draw_moves(w, tools.directions, settings, person.index)):
            moved = tools.directions.move(w, steps) if steps else w
            picture = tools.generator.face_of(moved, settings.record.size)
            small = picture if settings.record.size == SIDE else resize(picture, (SIDE, SIDE))
            tried.append({
                **NOTHING_CARRIED,
                "id": person.id if variant == 0 else f"{person.id}~{variant}",
                "source": SOURCE,
                "licence": LICENCE,
                "person": person.id,
                "w": w.astype(np.float16),
                "picture": picture,
                "measured": small,
                "crop": np.eye(2, 3, dtype=np.float32),
                "box": None,
                "score": None,
                "variant": variant,
                "moves": [{"name": name, "steps": length} for name, length in steps.items()],
                "clip": None,
                "seconds": None,
            })  # fmt: skip
        kept, dropped = keep_same(tried, read_faces(tried, tools.reader), tools, settings)
        rows += kept
        errors += dropped
    return rows, errors


def keep_same(
    tried: Sequence[Row], read: Sequence[Row | None], tools: Any, settings: PairSettings
) -> tuple[list[Row], list[Mapping[str, str]]]:
    """Finished rows of one person's pictures that show the same person moving, and {id, reason} of the others.

    tried[0] is what the others are compared with; read: the rows after `read_faces`, None where no face was found.
    A person with one picture left gives none.
    """
    errors: list[Mapping[str, str]] = [
        {"id": row["id"], "reason": "no face found on the aligned picture"}
        for row, face in zip(tried, read)
        if face is None
    ]
    if not read or read[0] is None:
        return [], errors or [{"id": tried[0]["id"], "reason": "no face found on the aligned picture"}]
    rows = [_finish(row, settings, tools.topology) for row in read if row is not None]
    kept = rows[:1]
    for row in rows[1:]:
        distance = float(np.linalg.norm(row["identity"] - rows[0]["identity"]))
        change = float(motion_change(row["factors"], rows[0]["factors"]))
        row["identity_distance"] = distance
        if distance >= settings.limit:
            errors.append({"id": row["id"], "reason": f"identity distance {distance:.2f}, not under {settings.limit}"})
        elif change < settings.differs:
            errors.append({"id": row["id"], "reason": f"motion differs by {change:.2f}, less than {settings.differs}"})
        else:
            kept.append(row)
    if len(kept) < 2:
        errors.append({"id": rows[0]["id"], "reason": "no other picture of this person was kept"})
        return [], errors
    return kept, errors


def _finish(row: Row, settings: PairSettings, topology: Topology) -> Row:
    done = finish(write_words(row, settings.record), settings.record)
    extra = {name: row[name] for name in ("variant", "moves", "clip", "seconds")}
    return {**done, **extra, "identity_distance": 0.0, "factors": measure_factors(as_arrays(done), topology)}
