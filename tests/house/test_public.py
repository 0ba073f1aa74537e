"""The public surface, frozen: a change here is a change for every user and belongs in CHANGELOG.md."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image

import limner
from limner import settings
from limner.errors import InputError
from limner.models.facex.engine import FaceX
from limner.models.mditface.engine import MDiTFace
from limner.models.unif2ace.engine import UniF2ace
from limner.toolkit import Toolkit

NAMES = [
    "Attribute", "Comparison", "EditPlan", "Face", "InputError", "Match", "Picture", "Pose", "ReadResult", "Region",
    "Toolkit", "__version__", "load",
]  # fmt: skip


@pytest.fixture(scope="module")
def nano() -> Toolkit:
    return limner.load("nano")


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

    assert parameters(limner.load) == ["source", "editor", "device", "precision"]
    assert parameters(Toolkit.read) == ["self", "photo", "min_score"]
    assert parameters(Toolkit.read_many) == ["self", "photos", "min_score", "batch_size", "on_error"]
    assert parameters(Toolkit.compare) == ["self", "a", "b", "face_a", "face_b"]
    assert parameters(Toolkit.find) == ["self", "photo", "folder", "top_k", "face", "index", "min_score", "progress"]
    assert parameters(Toolkit.paint) == ["self", "text", "mask", "n", "settings"]
    methods = {name for name, value in vars(Toolkit).items() if not name.startswith("_")}
    assert parameters(Toolkit.describe) == ["self", "photo", "length", "settings"]
    assert parameters(Toolkit.ask) == ["self", "photo", "question", "settings"]
    assert parameters(Toolkit.swap) == ["self", "source", "target", "head", "settings"]
    assert parameters(Toolkit.reenact) == ["self", "source", "driver", "settings"]
    assert parameters(Toolkit.edit) == ["self", "photo", "plan", "settings"]
    assert parameters(Toolkit.animate) == ["self", "photo", "style", "settings"]
    engines = {"reader", "painter", "answerer", "editor"}
    verbs = {
        "read",
        "read_many",
        "compare",
        "find",
        "describe",
        "ask",
        "chat",
        "paint",
        "swap",
        "reenact",
        "edit",
        "animate",
    }
    assert methods == engines | verbs


@pytest.mark.parametrize(
    ("declared", "engines"),
    [
        (settings.PaintSettings, [MDiTFace.paint, UniF2ace.paint]),
        (settings.AnswerSettings, [UniF2ace.ask]),
        (settings.ChatSettings, [UniF2ace.chat, UniF2ace.ask]),
        (settings.EditSettings, [FaceX.edit]),
    ],
)
def test_settings_are_those_of_the_engines(declared: type, engines: list) -> None:
    """Every keyword that a method of the toolkit declares is an engine's, and none of the engine's is missing."""
    taken = {name for engine in engines for name in inspect.signature(engine).parameters}
    own = {"self", "text", "mask", "n", "photo", "question", "plan", "settings"}  # the toolkit's own parameters
    if declared is settings.ChatSettings:
        own |= {"stream"}  # of a turn, not of a conversation
    assert set(declared.__annotations__) == taken - own


WRONG = [
    (lambda model: model.paint(3), "text must be a string, not int"),
    (lambda model: model.paint(["a man", 3]), "text must be a string, not int"),
    (lambda model: model.paint([]), "empty list"),
    (lambda model: model.paint("a man", steps="many"), "steps='many': choose a whole number"),
    (lambda model: model.paint("a man", guidance=True), "guidance=True: choose a number"),
    (lambda model: model.paint("a man", sampler=["euler"]), "sampler .* does not exist"),
    (lambda model: model.paint("a man", best=2), "MDiTFace has no setting best"),
    (lambda model: model.edit(GREY, "smile"), "plan must be a limner.EditPlan, not str"),
    (lambda model: model.ask(GREY, 3), "question must be a string, not int"),
    (lambda model: model.describe(GREY, 3), "length must be a string, not int"),
    (lambda model: model.read(3), "a picture is a path"),
    (lambda model: model.read(GREY, "low"), "min_score='low': choose a number"),
    (lambda model: model.compare(GREY, 3), "no face was found"),
    (lambda model: model.animate(GREY, 3), "a style is a name or a folder"),
    (lambda model: limner.load(device="gpu"), "device='gpu': choose auto, cpu, cuda"),
    (lambda model: limner.load(precision="fp16"), "precision='fp16': choose"),
    (lambda model: limner.load(cast(str, 3)), "weights are a registry name or a path"),
    (lambda model: limner.EditPlan.erase(cast(str, 3)), "names of parts"),
    (
        lambda model: limner.EditPlan.motion(yaw=cast(float, "left")),
        "EditPlan: sliders.yaw: Input should be",
    ),
    (lambda model: limner.EditPlan(what=1), "EditPlan: what: Extra inputs"),
]
GREY = np.full((64, 64, 3), 128, np.uint8)


@pytest.mark.parametrize(("call", "said"), WRONG)
def test_wrong_types_are_one_line(nano: Toolkit, call, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        call(nano)
    assert "\n" not in str(caught.value)


def test_lists_of_words_and_questions(nano: Toolkit) -> None:
    """As one after the other: the same pictures and the same answers."""
    both = nano.paint(["a man", "an old woman"], n=2, steps=1, seed=3)
    assert [(p.recipe["text"], p.recipe["picture"]) for p in both] == [
        ("a man", 0), ("a man", 1), ("an old woman", 0), ("an old woman", 1)
    ]  # fmt: skip
    alone = nano.paint("an old woman", n=2, steps=1, seed=3)
    assert both[3].image.tobytes() == alone[1].image.tobytes()
    photo = Path(limner.__file__).parent / "demo" / "photographs" / "astronaut.jpg"
    questions = ["Is she smiling?", "What colour is her hair?"]
    answers = nano.ask(photo, questions, limit=20)
    assert [answer.text for answer in answers] == [nano.ask(photo, each, limit=20).text for each in questions]


def test_one_name_is_a_list_of_it() -> None:
    assert limner.EditPlan.erase("hat") == limner.EditPlan.erase(["hat"])
    assert limner.EditPlan.regions("her.jpg", "hair") == limner.EditPlan.regions("her.jpg", ("hair",))


def test_a_device_reaches_every_engine() -> None:
    toolkit = limner.load(device="cpu", precision="bf16")
    assert toolkit.painter.why == "cpu: asked for; bf16: asked for"
    assert next(toolkit.painter.components.model.parameters()).dtype == torch.bfloat16
    assert toolkit.answerer.why == toolkit.editor.why == toolkit.painter.why
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="device cuda:1: PyTorch sees no GPU"):
            _ = limner.load(device="cuda:1").painter


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
def test_mask_reaches_the_painter(tmp_path: Path, kind: str) -> None:
    """A file, a picture and an array of the same map are the same mask."""
    from limner.models.mditface.engine import region_map

    ids = np.zeros((64, 64), dtype=np.uint8)
    ids[16:48, 16:48] = limner.Region.SKIN
    ids[4:16, 16:48] = limner.Region.HAIR
    Image.fromarray(ids).save(tmp_path / "map.png")
    given = {"path": tmp_path / "map.png", "pil": Image.fromarray(ids), "array": ids}[kind]
    toolkit = limner.load(tmp_path)
    recorder = vars(toolkit)["painter"] = Recorder()
    toolkit.paint("a smiling woman", given, n=2, seed=7)
    text, mask, n, settings = recorder.asked
    assert (text, n, settings) == ("a smiling woman", 2, {"seed": 7})
    assert np.array_equal(region_map(mask, 64), ids)
