"""Faces whose looks are spread evenly: targets, choice and steps are as said, and a set keeps to one kind of faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.test_synthetic import TinyGenerator
from limner.data.balanced_generator import (
    AGES,
    CHILDREN,
    HAIR,
    OLDEST,
    SOUGHT,
    BalancedGenerator,
    draw_steps,
    sample_targets,
)
from limner.data.directions import Directions
from limner.data.look_probes import LOOKS, LookProbes
from limner.data.synthetic import FaceGenerator, read_info, write_set
from limner.errors import InputError


def tiny_probes() -> LookProbes:
    """Each look is one number of w, in standard deviations of the tiny generator's styles."""
    styles = np.stack([FaceGenerator.w_of(TinyGenerator(), i) for i in range(200)])
    spread = styles.std(0)[: len(LOOKS)]
    weights = np.eye(len(LOOKS), 512, dtype=np.float32) / spread[:, None]
    mean = styles.mean(0)[: len(LOOKS)]
    return LookProbes(
        names=tuple(LOOKS),
        weights=weights,
        intercepts=(-mean / spread).astype(np.float32),
        means=np.full(len(LOOKS), 40.0, np.float32),
        spreads=np.full(len(LOOKS), 15.0, np.float32),
        r2=np.ones(len(LOOKS), np.float32),
    )


class TinyVaried(BalancedGenerator, TinyGenerator):
    """The varied generator on the tiny one's networks and probes."""

    probes = tiny_probes()  # pyright: ignore[reportAssignmentType] (a plain value in a property's place)


def test_targets_are_spread_evenly() -> None:
    targets = [sample_targets(np.random.default_rng(i)) for i in range(2000)]
    women = np.mean([one["woman"] > 0 for one in targets])
    assert 0.46 < women < 0.54
    tones = [round(one["skin"], 2) for one in targets]
    assert len(set(tones)) == 6 and min(tones.count(tone) for tone in set(tones)) > 250
    assert not any("bald" in one for one in targets if one["woman"] > 0), "no woman is to be bald"
    assert not any("beard" in one for one in targets if one["woman"] > 0)
    assert not any({"glasses", "sunglasses"} <= one.keys() for one in targets)
    assert all(sum(name in one for name in HAIR) == 1 for one in targets)
    share = np.mean(["red_hair" in one for one in targets])
    assert 0.09 < share < 0.15, "one in eight"


def test_the_chosen_style_fits_its_targets_better_than_a_plain_draw() -> None:
    varied = TinyVaried()
    gained = []
    for index in range(12):
        random = np.random.default_rng(index)
        targets = sample_targets(random)
        chosen = varied._choose(targets, random)
        plain = FaceGenerator.w_of(varied, index)
        columns = [varied.probes.names.index(name) for name in targets]
        missed = [
            np.abs(varied.probes.score(w[None])[0, columns] - list(targets.values())).mean() for w in (chosen, plain)
        ]
        gained.append(missed[1] - missed[0])
    assert np.mean(gained) > 0.2


def test_steps_add_what_a_face_still_lacks() -> None:
    directions, random = Directions.load(), np.random.default_rng(0)
    w = np.zeros(512, np.float32)
    expected = dict(zip(directions.names, directions.expect(w), strict=True))
    steps = draw_steps(directions, w, {"glasses": SOUGHT, "beard": SOUGHT}, 80.0, random)
    assert 2.0 <= steps["glasses"] <= 3.0 and 1.5 <= steps["beard"] <= 3.0
    spread = directions.spreads[directions.index("age")]
    assert steps["age"] == pytest.approx(min((80 - expected["age"]) / spread, OLDEST))
    assert draw_steps(directions, w, {}, 5.0, random) == {"age": 0.0}, "nobody is made younger"
    assert draw_steps(directions, w, {}, None, random) == {}
    wearing = w + 3 * directions.steps[directions.index("glasses")]
    assert "glasses" not in draw_steps(directions, wearing, {"glasses": SOUGHT}, None, random), "there already"


def test_a_varied_face_is_a_function_of_its_index() -> None:
    varied, again = TinyVaried(), TinyVaried()
    assert np.array_equal(varied.w_of(5), again.w_of(5)) and varied.w_of(5).dtype == np.float32
    assert not np.array_equal(varied.w_of(5), varied.w_of(6))
    assert 0 < CHILDREN < 0.2 and AGES[0][0] == 18.0


def test_a_folder_holds_one_kind_of_faces(tmp_path: Path) -> None:
    write_set(TinyVaried(), tmp_path, range(2))
    info = read_info(tmp_path)
    assert info is not None and info["varied"] is True
    with pytest.raises(InputError, match="holds varied faces: choose another folder for the generator's own ones"):
        write_set(TinyGenerator(), tmp_path, range(3))
    assert write_set(TinyVaried(), tmp_path, range(3)) == 1
    (tmp_path / "synth.json").unlink()  # an old set, whose faces are the generator's own
    with pytest.raises(InputError, match="holds the generator's own faces: choose another folder for varied ones"):
        write_set(TinyVaried(), tmp_path, range(4))
    (tmp_path / "synth.json").write_text("{")
    with pytest.raises(InputError, match=r"synth\.json is damaged"):
        write_set(TinyVaried(), tmp_path, range(4))
