"""Faces spread evenly over ages, glasses and beards: steps are drawn as said, and a set keeps to one kind of faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.test_synthetic import TinyGenerator
from limner.data.balanced_generator import OLDEST, BalancedGenerator, draw_steps
from limner.data.directions import Directions
from limner.data.synthetic import FaceGenerator, read_info, write_set
from limner.errors import InputError


class TinyVaried(BalancedGenerator, TinyGenerator):
    """The varied generator on the tiny one's networks."""

    def map(self, z: np.ndarray) -> np.ndarray:
        return (super().map(z) - 3) / 10  # about where the directions were fitted


def test_ages_spread_and_glasses_and_beards_are_common() -> None:
    directions, mean = Directions.load(), np.zeros(512, np.float32)
    at = {name: k for k, name in enumerate(directions.names)}
    towards = directions.weights[at["woman"]] / np.linalg.norm(directions.weights[at["woman"]]) ** 2
    expected = float(directions.expect(mean)[at["woman"]])
    ages, worn = [], {True: [], False: []}
    for man in (True, False):
        w = mean + towards * ((0.0 if man else 1.0) - expected)
        start = float(directions.expect(w)[at["age"]])
        for seed in range(400):
            steps = draw_steps(directions, w, np.random.default_rng(seed))
            ages.append(start + steps["age"] * directions.spreads[at["age"]])
            worn[man].append([name in steps for name in ("glasses", "beard")])
            assert 0 <= steps["age"] <= OLDEST and steps.get("glasses", 2.5) >= 2
    shares = np.histogram(ages, [0, 40, 60, 85])[0] / len(ages)
    assert shares.min() > 0.2, "younger, middle-aged and older alike"
    glasses, beards = np.mean(worn[True], 0)
    assert 0.25 < glasses < 0.45 and 0.33 < beards < 0.47
    assert np.mean(worn[False], 0)[1] == 0 < np.mean(worn[False], 0)[0], "women get no beard"


def test_a_varied_face_is_a_function_of_its_index_and_older_than_the_plain_one() -> None:
    varied, again = TinyVaried(), TinyVaried()
    assert np.array_equal(varied.w_of(5), again.w_of(5)) and varied.w_of(5).dtype == np.float32
    age = varied.directions.index("age")
    plain = [FaceGenerator.w_of(varied, i) for i in range(20)]
    gained = [
        varied.directions.expect(varied.w_of(i) - w)[age] - varied.directions.expect(w * 0)[age]
        for i, w in enumerate(plain)
    ]
    assert min(gained) > -1e-3 and max(gained) > 20


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
