"""ComfyUI nodes: load, read, regions, paint, swap.

ComfyUI's conventions: IMAGE is a float tensor (B, H, W, 3) in 0..1, MASK a float tensor (B, H, W) in 0..1. A node is a
class with INPUT_TYPES, RETURN_TYPES and FUNCTION, and its function returns a tuple. Limner adds two types: LIMNER, a
loaded toolkit, and LIMNER_FACES, a list of faces for every image of a batch.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

import limner
from limner.errors import InputError

CATEGORY = "Limner"
REGIONS = tuple(region.name.lower() for region in limner.Region)
SEED = ("INT", {"default": 0, "min": 0, "max": 2**53 - 1, "control_after_generate": True})
MODEL = ("LIMNER", {"tooltip": "From the node 'Limner: load'."})


def to_arrays(image: torch.Tensor) -> list[np.ndarray]:
    """IMAGE (B, H, W, 3) in 0..1 to B pictures (H, W, 3) uint8. An alpha channel is dropped, as ComfyUI's nodes do."""
    pixels = image[..., :3].clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
    return [np.ascontiguousarray(each) for each in pixels]


def to_image(pictures: list[np.ndarray]) -> torch.Tensor:
    """Pictures of one size (H, W, 3) uint8 to IMAGE (B, H, W, 3) in 0..1."""
    return torch.from_numpy(np.stack(pictures)).float().div(255)


def progress(total: int) -> Any:
    """A callback that moves ComfyUI's bar, and stops where the user interrupts; None outside ComfyUI."""
    try:
        from comfy.model_management import throw_exception_if_processing_interrupted  # pyright: ignore
        from comfy.utils import ProgressBar  # pyright: ignore
    except ImportError:
        return None
    bar = ProgressBar(total)

    def show(done: int, of: int) -> None:
        throw_exception_if_processing_interrupted()
        bar.update_absolute(done, of)

    return show


class LimnerLoad:
    """A toolkit for the other nodes. Weights load when a node first needs them."""

    CATEGORY = CATEGORY
    RETURN_TYPES = ("LIMNER",)
    RETURN_NAMES = ("model",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """ComfyUI's description of the inputs."""
        return {
            "required": {
                "source": ("STRING", {"default": "nano", "tooltip": "nano, a registry name, or a folder of weights."}),
                "device": (["auto", "cpu", "cuda"], {"default": "auto"}),
                "precision": (["auto", "bf16", "fp32"], {"default": "auto"}),
            }
        }

    def load(self, source: str, device: str, precision: str) -> tuple[limner.Toolkit]:
        """The toolkit."""
        return (limner.load(source, device=device, precision=precision),)


class LimnerRead:
    """What is in a photo: its faces, a drawing of what was read, and everything as JSON."""

    CATEGORY = CATEGORY
    RETURN_TYPES = ("LIMNER_FACES", "IMAGE", "STRING", "INT")
    RETURN_NAMES = ("faces", "overlay", "json", "count")
    FUNCTION = "read"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """ComfyUI's description of the inputs."""
        score = {"default": 0.5, "min": 0.1, "max": 1.0, "step": 0.05, "tooltip": "Least score of a detection."}
        return {"required": {"model": MODEL, "image": ("IMAGE",), "min_score": ("FLOAT", score)}}

    def read(
        self, model: limner.Toolkit, image: torch.Tensor, min_score: float
    ) -> tuple[list[list[limner.Face]], torch.Tensor, str, int]:
        """Faces of every image, drawings at the images' size, a JSON list per image, and how many faces in all."""
        from limner.faces.geometry import resize
        from limner.faces.overlay import draw_overlay

        pictures = to_arrays(image)
        faces = [result.faces for result in model.read_many(pictures, min_score)]
        drawn = [draw_overlay(picture, some) for picture, some in zip(pictures, faces, strict=True)]
        height, width = pictures[0].shape[:2]
        overlay = to_image([resize(each, (width, height)) for each in drawn])
        said = json.dumps([[face.to_dict() for face in some] for some in faces])
        return faces, overlay, said, sum(len(some) for some in faces)


class LimnerRegions:
    """A region of the faces as a mask, and the whole region map of one face in CelebAMask-HQ's colours."""

    CATEGORY = CATEGORY
    RETURN_TYPES = ("MASK", "IMAGE")
    RETURN_NAMES = ("mask", "map")
    FUNCTION = "regions"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """ComfyUI's description of the inputs."""
        number = {"default": 1, "min": 1, "max": 100, "tooltip": "Which face, from 1, largest first."}
        return {
            "required": {
                "faces": ("LIMNER_FACES",),
                "region": (["whole head", *REGIONS], {"default": "hair"}),
                "face": ("INT", number),
            }
        }

    def regions(self, faces: list[list[limner.Face]], region: str, face: int) -> tuple[torch.Tensor, torch.Tensor]:
        """For every image: where the region is, at the image's size, and the face's map in colours."""
        from limner.faces.record import choose_face
        from limner.faces.regions import colourise

        chosen = [choose_face(some, face, f"image {number}") for number, some in enumerate(faces, 1)]
        maps = [each.regions for each in chosen]
        if region == "whole head":
            wanted = [r for r in limner.Region if r.name not in ("BACKGROUND", "CLOTH", "NECK")]
        else:
            wanted = [limner.Region[region.upper()]]
        masks = np.stack([np.isin(each, wanted) for each in maps])
        return torch.from_numpy(masks).float(), to_image([colourise(each) for each in maps])


class LimnerPaint:
    """Portraits from words, from a region map, or from both."""

    CATEGORY = CATEGORY
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("image", "recipes")
    FUNCTION = "paint"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """ComfyUI's description of the inputs."""
        return {
            "required": {
                "model": MODEL,
                "prompt": ("STRING", {"multiline": True, "default": "a smiling woman with grey hair"}),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 64}),
                "steps": ("INT", {"default": 28, "min": 1, "max": 1000}),
                "seed": SEED,
            },
            "optional": {
                "guidance": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 100.0, "step": 0.1,
                                       "tooltip": "How strongly to follow the words; 0: the weights' own."}),
                "map": ("IMAGE", {"tooltip": "A region map in CelebAMask-HQ's colours to follow; one of the batch."}),
                "faces": ("LIMNER_FACES", {"tooltip": "Or a face to follow: the largest of the first image."}),
            },
        }  # fmt: skip

    def paint(
        self,
        model: limner.Toolkit,
        prompt: str,
        batch_size: int,
        steps: int,
        seed: int,
        guidance: float = 0.0,
        map: torch.Tensor | None = None,
        faces: list[list[limner.Face]] | None = None,
    ) -> tuple[torch.Tensor, str]:
        """The pictures with their watermark, and their recipes as JSON."""
        from limner.faces.record import choose_face

        if map is not None and faces is not None:
            raise InputError("map and faces both say which regions to follow: connect one of them")
        mask: Any = None
        if map is not None:
            mask = to_arrays(map)[0]
        elif faces is not None:
            mask = choose_face(faces[0], None, "the first image")
        pictures = model.paint(
            prompt.strip() or None, mask, batch_size, steps=steps, seed=seed, guidance=guidance or None,
            callback=progress(steps),
        )  # fmt: skip
        return to_image([picture.marked() for picture in pictures]), json.dumps([each.recipe for each in pictures])


class LimnerSwap:
    """The face, or the whole head, of one person on another's photo."""

    CATEGORY = CATEGORY
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("image", "recipes")
    FUNCTION = "swap"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """ComfyUI's description of the inputs."""
        return {
            "required": {
                "model": MODEL,
                "source": ("IMAGE", {"tooltip": "Whose face: the largest of the first image."}),
                "target": ("IMAGE", {"tooltip": "On whom: one face of every image."}),
                "head": ("BOOLEAN", {"default": False, "tooltip": "The whole head instead of the face."}),
                "face": ("INT", {"default": 1, "min": 1, "max": 100, "tooltip": "Which face of the target."}),
                "steps": ("INT", {"default": 25, "min": 1, "max": 1000}),
                "seed": SEED,
                "everyone_consents": ("BOOLEAN", {"default": False, "tooltip": "Everyone shown has agreed."}),
            }
        }

    def swap(
        self,
        model: limner.Toolkit,
        source: torch.Tensor,
        target: torch.Tensor,
        head: bool,
        face: int,
        steps: int,
        seed: int,
        everyone_consents: bool,
    ) -> tuple[torch.Tensor, str]:
        """Every target with the source's face, watermarked where it was painted, and the recipes as JSON."""
        if not everyone_consents:
            raise InputError("a swap needs the consent of everyone shown: set everyone_consents when you have it")
        giver = to_arrays(source)[0]
        pictures = [
            model.swap(giver, each, head=head, face=face, steps=steps, seed=seed, callback=progress(steps))
            for each in to_arrays(target)
        ]
        return to_image([picture.marked() for picture in pictures]), json.dumps([each.recipe for each in pictures])


NODE_CLASS_MAPPINGS = {
    "LimnerLoad": LimnerLoad,
    "LimnerRead": LimnerRead,
    "LimnerRegions": LimnerRegions,
    "LimnerPaint": LimnerPaint,
    "LimnerSwap": LimnerSwap,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "LimnerLoad": "Limner: load",
    "LimnerRead": "Limner: read faces",
    "LimnerRegions": "Limner: regions",
    "LimnerPaint": "Limner: paint",
    "LimnerSwap": "Limner: swap faces",
}
