"""A stored result says how to make it again, and by what."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from limner.cli import evaluate


def test_astored_result_holds_its_command_without_places_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["limner", "evaluate", "masks", "--sheet", "somewhere/masks.jpg", "--count", "5", "--sheet=other.png"]
    monkeypatch.setattr("sys.argv", words)
    evaluate.store(tmp_path / "r.json", {"accuracy": 0.123456789, "counts": [1, np.float64(2.5)]}, 3, {"steps": 28})
    stored = json.loads((tmp_path / "r.json").read_text())
    assert stored["command"] == "limner evaluate masks --count 5"
    assert stored["figures"] == {"accuracy": 0.12346, "counts": [1, 2.5]}
    assert stored["seed"] == 3 and stored["settings"] == {"steps": 28}
    assert {"commit", "date", "limner", "machine"} <= set(stored) and stored["machine"]["cores"] >= 1
