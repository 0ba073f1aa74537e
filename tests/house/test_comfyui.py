"""The ComfyUI nodes, loaded and called as ComfyUI does it: by file path, with prompts in its API format.

ComfyUI is not a package that can be installed here, so `execute` below follows its rules for a prompt: inputs are
checked against INPUT_TYPES (types of links, ranges, choices), nodes run in the order of their links, a node's function
gets its inputs by name and returns one value for each of RETURN_TYPES.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import limner
from limner.errors import InputError
from limner.faces.picture import read_picture
from limner.provenance.detect import detect

FOLDER = Path(__file__).parents[2] / "integrations" / "comfyui"
PHOTOGRAPHS = Path(limner.__file__).parent / "demo" / "photographs"
WIDGETS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
OWN = {"LIMNER", "LIMNER_FACES"}


@pytest.fixture(scope="module")
def pack() -> ModuleType:
    """The pack as a module, the way ComfyUI loads a folder in custom_nodes."""
    spec = importlib.util.spec_from_file_location("limner_nodes", FOLDER / "__init__.py", submodule_search_locations=[])
    assert spec is not None and spec.loader is not None
    spec.submodule_search_locations = [str(FOLDER)]
    module = importlib.util.module_from_spec(spec)
    sys.modules["limner_nodes"] = module
    spec.loader.exec_module(module)
    return module


class LoadImage:
    """ComfyUI's own: a file as IMAGE (1, H, W, 3) in 0..1."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "load_image"
    folder: Path

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"image": ("STRING", {})}}

    def load_image(self, image: str) -> tuple[torch.Tensor]:
        with Image.open(self.folder / image) as opened:
            return (torch.from_numpy(np.array(opened.convert("RGB")).astype(np.float32) / 255)[None],)


class SaveImage:
    """ComfyUI's own, keeping what it would write."""

    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True
    saved: list[np.ndarray]

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})}}

    def save_images(self, images: torch.Tensor, filename_prefix: str) -> dict:
        type(self).saved = [np.clip(255.0 * each.cpu().numpy(), 0, 255).astype(np.uint8) for each in images]
        return {"ui": {"images": []}}


def check(prompt: dict, classes: dict[str, type], number: str) -> None:
    """ComfyUI's validation of a node's inputs."""
    node, described = prompt[number], classes[prompt[number]["class_type"]].INPUT_TYPES()
    wanted = {**described.get("required", {}), **described.get("optional", {})}
    assert set(described.get("required", {})) <= set(node["inputs"]) <= set(wanted), number
    for name, given in node["inputs"].items():
        kind, *options = wanted[name]
        limits = options[0] if options else {}
        if isinstance(given, list):
            made_by, output = given
            assert classes[prompt[made_by]["class_type"]].RETURN_TYPES[output] == kind, (number, name)
        elif isinstance(kind, list):
            assert given in kind, (number, name)
        else:
            value = WIDGETS[kind](given)
            assert limits.get("min", value) <= value <= limits.get("max", value), (number, name)


def execute(prompt: dict, classes: dict[str, type]) -> dict[str, tuple]:
    """Run a prompt; every node's outputs by its number."""
    results: dict[str, tuple] = {}

    def run(number: str) -> tuple:
        if number not in results:
            check(prompt, classes, number)
            cls: Any = classes[prompt[number]["class_type"]]
            inputs = {
                name: run(given[0])[given[1]] if isinstance(given, list) else given
                for name, given in prompt[number]["inputs"].items()
            }
            made = getattr(cls(), cls.FUNCTION)(**inputs)
            results[number] = made.get("result", ()) if isinstance(made, dict) else made
            assert len(results[number]) == len(cls.RETURN_TYPES)
        return results[number]

    for number in prompt:
        run(number)
    return results


@pytest.fixture
def classes(pack: ModuleType, tmp_path: Path) -> dict[str, type]:
    Image.open(PHOTOGRAPHS / "astronaut.jpg").save(tmp_path / "photo.png")
    LoadImage.folder = tmp_path
    return {**pack.NODE_CLASS_MAPPINGS, "LoadImage": LoadImage, "SaveImage": SaveImage}


def test_every_node_describes_itself(pack: ModuleType) -> None:
    assert set(pack.NODE_CLASS_MAPPINGS) == set(pack.NODE_DISPLAY_NAME_MAPPINGS)
    for cls in pack.NODE_CLASS_MAPPINGS.values():
        described = cls.INPUT_TYPES()
        assert set(described) <= {"required", "optional", "hidden"}
        inputs = {**described["required"], **described.get("optional", {})}
        parameters = inspect.signature(getattr(cls, cls.FUNCTION)).parameters
        assert set(inputs) == set(parameters) - {"self"}
        for name in described.get("optional", {}):
            assert parameters[name].default is not inspect.Parameter.empty
        for kind, *options in inputs.values():
            assert isinstance(kind, list) or kind in WIDGETS or kind in OWN | {"IMAGE", "MASK"}
            if isinstance(kind, list):
                assert not options or options[0]["default"] in kind
            elif kind in WIDGETS:
                assert isinstance(options[0]["default"], WIDGETS[kind])
        assert len(cls.RETURN_TYPES) == len(cls.RETURN_NAMES) and cls.CATEGORY == "Limner"
        assert set(cls.RETURN_TYPES) <= OWN | {"IMAGE", "MASK", "STRING", "INT"}


def test_the_example_paints_a_portrait_of_the_photos_regions(classes: dict[str, type]) -> None:
    prompt = json.loads((FOLDER / "workflow.json").read_text())
    prompt["5"]["inputs"]["steps"] = 4
    results = execute(prompt, classes)
    photo = results["2"][0]
    faces, overlay, said, count = results["3"]
    assert count == len(faces[0]) == 1 and overlay.shape == photo.shape and not torch.equal(overlay, photo)
    assert json.loads(said)[0][0]["attributes"]["gender_presentation"]["value"] == "woman"
    mask, coloured = results["4"]
    assert mask.shape == photo.shape[:3] and coloured.shape == photo.shape and set(mask.unique().tolist()) == {0, 1}
    hair = torch.from_numpy(faces[0][0].regions == limner.Region.HAIR)
    assert torch.equal(mask[0].bool(), hair) and 0.01 < mask.mean() < 0.5
    images, recipes = results["5"]
    assert images.shape == (2, 256, 256, 3) and images.dtype == torch.float32
    assert 0 <= images.min() < 0.3 and 0.7 < images.max() <= 1
    first, second = json.loads(recipes)
    assert first["seed"] == 0 and second["picture"] == 1 and first["mask"] and first["steps"] == 4
    again = limner.load().paint("a smiling woman with grey hair", faces[0][0], n=2, steps=4)
    assert first["text"] == again[0].recipe["text"]
    assert all(detect(saved).found for saved in SaveImage.saved), "the watermark is in what is saved"


def test_swap_asks_for_consent_and_keeps_the_rest(pack: ModuleType) -> None:
    nodes, model = pack.NODE_CLASS_MAPPINGS, limner.load()
    source, target = (
        torch.from_numpy(read_picture(PHOTOGRAPHS / f"face-{number}.jpg")).float()[None] / 255
        for number in (10016, 10018)
    )
    settings = {"head": False, "face": 1, "steps": 1, "seed": 0}
    with pytest.raises(InputError, match="consent"):
        nodes["LimnerSwap"]().swap(model, source, target, **settings, everyone_consents=False)
    image, recipes = nodes["LimnerSwap"]().swap(model, source, target, **settings, everyone_consents=True)
    assert image.shape == target.shape and json.loads(recipes)[0]["kind"] == "edit"
    changed = (image - target).abs().amax(-1)[0] > 0.02
    assert 0.02 < changed.float().mean() < 0.7 and not changed[:8].any(), "only the face is painted anew"


def test_paint_takes_faces_and_refuses_both(pack: ModuleType) -> None:
    nodes, model = pack.NODE_CLASS_MAPPINGS, limner.load()
    photo = torch.from_numpy(read_picture(PHOTOGRAPHS / "astronaut.jpg")).float()[None] / 255
    faces = nodes["LimnerRead"]().read(model, photo, 0.5)[0]
    coloured = nodes["LimnerRegions"]().regions(faces, "whole head", 1)[1]
    paint = nodes["LimnerPaint"]().paint
    assert paint(model, "", 1, 1, 0, faces=faces)[0].shape == (1, 256, 256, 3)
    with pytest.raises(InputError, match="connect one"):
        paint(model, "a woman", 1, 1, 0, map=coloured, faces=faces)
    with pytest.raises(InputError, match="no face was found in image 1"):
        nodes["LimnerRegions"]().regions([[]], "hair", 1)
