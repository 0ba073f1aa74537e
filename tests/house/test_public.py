"""The public surface, frozen: a change here is a change for every user and belongs in CHANGELOG.md."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import limner
from limner.errors import InputError
from limner.toolkit import Toolkit

NAMES = ["Attribute", "EditPlan", "Face", "InputError", "Picture", "Pose", "Region", "Toolkit", "__version__", "load"]


def test_names() -> None:
    assert sorted(limner.__all__) == sorted(NAMES)
    assert dir(limner) == sorted(NAMES)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = limner.Nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name: str) -> None:
    assert getattr(limner, name) is not None


def test_signatures() -> None:
    def parameters(function) -> list[str]:
        return list(inspect.signature(function).parameters)

    assert parameters(limner.load) == ["source", "editor"]
    assert parameters(Toolkit.read) == ["self", "photo", "min_score"]
    assert parameters(Toolkit.paint) == ["self", "text", "mask", "n", "settings"]
    methods = {name for name, value in vars(Toolkit).items() if not name.startswith("_")}
    assert parameters(Toolkit.describe) == ["self", "photo", "length", "settings"]
    assert parameters(Toolkit.ask) == ["self", "photo", "question", "settings"]
    assert parameters(Toolkit.swap) == ["self", "source", "target", "head", "settings"]
    assert parameters(Toolkit.reenact) == ["self", "source", "driver", "settings"]
    assert parameters(Toolkit.edit) == ["self", "photo", "plan", "settings"]
    assert parameters(Toolkit.animate) == ["self", "photo", "style", "settings"]
    engines = {"reader", "painter", "answerer", "editor"}
    verbs = {"read", "describe", "ask", "chat", "paint", "swap", "reenact", "edit", "animate"}
    assert methods == engines | verbs


def test_types_are_published() -> None:
    assert Path(limner.__file__).with_name("py.typed").is_file()


def test_loading_loads_no_engine(tmp_path: Path) -> None:
    script = "import sys, limner; limner.load(sys.argv[1]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)


def test_unknown_weights_are_refused_at_once() -> None:
    with pytest.raises(InputError, match="limner models list"):
        limner.load("huge")
    with pytest.raises(InputError, match="no file or folder"):
        limner.load("no/such/folder")


def test_reading_asks_for_no_painter(tmp_path: Path) -> None:
    """Neither nano's weights nor those of a folder are looked at before something is to be painted."""
    for source in ("nano", tmp_path):
        toolkit = limner.load(source)
        vars(toolkit)["_painter_source"] = tmp_path  # an empty folder: whatever nano has by now
        assert toolkit.read(np.full((64, 64, 3), 128, np.uint8)) == []
        with pytest.raises(InputError, match="holds no painter"):
            toolkit.paint("a smiling woman")


def test_nano_is_known_without_its_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("limner.weights.store.EMBEDDED", tmp_path)
    assert isinstance(limner.load("nano"), Toolkit)
    assert isinstance(limner.load(), Toolkit)


class Recorder:
    """Stands where MDiTFace does and keeps what it was asked."""

    def paint(self, text, mask, n, **settings):
        self.asked = (text, mask, n, settings)
        return []


@pytest.mark.parametrize("kind", ["path", "pil", "array"])
def test_mask_reaches_the_painter_as_ids(tmp_path: Path, kind: str) -> None:
    """A file, a picture and an array of the same map are the same mask."""
    ids = np.zeros((64, 64), dtype=np.uint8)
    ids[16:48, 16:48] = limner.Region.SKIN
    Image.fromarray(ids).save(tmp_path / "map.png")
    given = {"path": tmp_path / "map.png", "pil": Image.fromarray(ids), "array": ids}[kind]
    toolkit = limner.load(tmp_path)
    recorder = vars(toolkit)["painter"] = Recorder()
    toolkit.paint("a smiling woman", given, n=2, seed=7)
    text, mask, n, settings = recorder.asked
    assert (text, n, settings) == ("a smiling woman", 2, {"seed": 7})
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, ids)
