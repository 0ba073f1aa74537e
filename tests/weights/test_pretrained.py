"""Engines saved to a folder and loaded from it, and from a hub, as huggingface_hub's users expect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelHubMixin
from safetensors import safe_open

from limner.errors import InputError
from limner.models.facex.engine import FaceX
from limner.models.mditface.engine import MDiTFace
from limner.models.unif2ace.engine import UniF2ace
from limner.weights.pretrained import PretrainedEngine

FILES = {
    MDiTFace: ("mditface-nano", {"model.safetensors"}),
    UniF2ace: ("unif2ace-nano", {"model.safetensors"}),
    FaceX: ("facex-nano", {"controller.safetensors", "base/unet/config.json"}),
}


@pytest.mark.parametrize("cls", FILES)
def test_saved_and_loaded_again(cls: type[PretrainedEngine], tmp_path: Path) -> None:
    name, wanted = FILES[cls]
    engine = cls.from_pretrained(name, device="cpu")
    assert isinstance(engine, ModelHubMixin)
    folder = tmp_path / "saved"
    engine.save_pretrained(folder)
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert {*wanted, "config.json", "README.md"} <= files
    assert all(file.endswith((".safetensors", ".json", ".md", ".txt")) for file in files), "nothing pickled"
    config = json.loads((folder / "config.json").read_text())
    assert config["engine"] == cls.ENGINE and set(config["headers"]) == {f for f in files if f.endswith(".safetensors")}
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: limner\n") and "Licence: " in card and "from_pretrained(" in card
    again = cls.from_pretrained(folder, device="cpu")
    assert again.weights() == engine.weights()  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="name another folder"):
        again.save_pretrained(folder)
    other = next(each for each in FILES if each is not cls)
    with pytest.raises(InputError, match=f"holds weights of the engine '{cls.ENGINE}', not '{other.ENGINE}'"):
        other.from_pretrained(folder)


def test_the_same_picture_and_answer(tmp_path: Path) -> None:
    painter = MDiTFace.from_pretrained("mditface-nano", device="cpu", precision="fp32")
    painter.save_pretrained(tmp_path)
    again = MDiTFace.from_pretrained(tmp_path, device="cpu", precision="fp32")
    one, other = (each.paint("a man", steps=2)[0].image.tobytes() for each in (painter, again))
    assert one == other


def test_companions_beside_the_weights_are_saved_with_them(tmp_path: Path) -> None:
    """Weights trained with a tokenizer of their own: it goes along."""
    from limner.weights.store import locate
    from limner.weights.tensors import load_tensors, save_tensors

    tensors, header = load_tensors(locate("unif2ace-nano"))
    mine = tmp_path / "mine"
    (mine / "words").mkdir(parents=True)
    (mine / "words" / "tokenizer.json").write_bytes(locate("unif2ace-words").read_bytes())
    save_tensors(mine / "model.safetensors", tensors, {**header, "tokenizer": "words"})
    UniF2ace.load(mine).save_pretrained(tmp_path / "saved")
    (mine / "words" / "tokenizer.json").unlink()
    again = UniF2ace.from_pretrained(tmp_path / "saved")
    assert again.components.tokenizer.question("Is she smiling?")


def test_a_card_of_ones_own_stays(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    MDiTFace.from_pretrained("mditface-nano", device="cpu").save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    with safe_open(tmp_path / "model.safetensors", framework="np") as file:
        assert len(file.keys()) > 100


def test_pushed_to_a_hub_and_pulled_from_it(hub, tmp_path: Path) -> None:
    """Against the local hub: what `push_to_hub` uploads is what `from_pretrained` gets."""
    engine = MDiTFace.from_pretrained("mditface-nano", device="cpu")
    engine.push_to_hub("some/model", token="hf_local")
    assert set(hub.files) == {"model.safetensors", "config.json", "README.md"}
    again = MDiTFace.from_pretrained("some/model", device="cpu", cache_dir=tmp_path, token=False)
    assert again.weights() == engine.weights()
    assert not list(tmp_path.rglob("README.md")), "only what is needed"
