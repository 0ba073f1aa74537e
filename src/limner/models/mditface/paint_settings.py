"""What can be asked of the painter: names, types and limits, the same for a request and for a recipe read back."""

from __future__ import annotations

from typing import Any

from limner.errors import InputError
from limner.settings import check_numbers, check_sampler

from .flow import SAMPLERS
from .loading import MDiTFaceComponents

SETTINGS = ("text", "mask", "n", "steps", "guidance", "mask_guidance", "seed", "sampler", "merge", "size")
"""What of a recipe decides the picture, besides weights, machine and the picture's number."""

MOST = 1024  # pictures in one request
WHOLE = {"n": (1, MOST), "steps": (1, 1000), "seed": (0, 2**63 - 1 - MOST), "size": (1, 4096)}
SCALES = {"guidance": (0, 100), "mask_guidance": (0, 100)}


def check_request(settings: dict[str, Any], components: MDiTFaceComponents) -> dict[str, Any]:
    """The settings themselves, if they can be painted with these weights; ``InputError`` naming the first that cannot.

    text: words, may be empty; mask: a packed map (see ``picture.pack_map``) or None; the others as ``MDiTFace.paint``
    documents them, all present.
    """
    text, mask, sampler = settings["text"], settings["mask"], settings["sampler"]
    if not isinstance(text, str) or not (mask is None or isinstance(mask, str)):
        raise InputError("text and mask of this recipe are not what limner writes: the file was changed")
    if not text and mask is None:
        raise InputError("nothing to paint: give words, a mask, or both")
    check_sampler(sampler, SAMPLERS)
    check_numbers(settings, WHOLE, SCALES)
    side, token = settings["size"], components.model.config.token_pixels
    if components.fixed and side != components.size:
        raise InputError(f"size={side}: these weights paint {components.size} pixels and nothing else")
    if side % token:
        raise InputError(f"size={side}: choose a multiple of {token}")
    merge = settings["merge"]
    if merge is not None and mask is None:
        raise InputError("merge: there is no mask whose tokens could be merged")
    if merge is not None and merge != "regions" and (not isinstance(merge, int) or merge < 1):
        raise InputError(f"merge={merge!r}: give the number of mask tokens to keep, or 'regions'")
    return settings
