"""An editor's parts: a controller, the base it steers, the encoders it was trained with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from limner.aliases import CONTROLLER_HEADER, renamed
from limner.errors import InputError
from limner.weights.registry import registry
from limner.weights.store import locate

from .base import BASE, Base, base_folder, load_base
from .control import Controller, load_controller, read_controller_header
from .decompose import Decomposer
from .encoders import load_decomposer
from .steer import SteeredUNet

NANO = "facex-nano"
CONTROLLER = "controller.safetensors"


@dataclass(frozen=True)
class Strength:
    """Guidance scales: with + (guidance − 1)·(with − none) + identity_guidance·(with − negative), and the start.

    none: every factor and the words dropped, as in classifier-free guidance. negative: of the plan
    (``EditPlan.negative``), the same motion on the photo's own face. Our choice: identity is a small part of what a
    token says, and what sets two people apart is a small part of identity; this follows just that part further.
    """

    guidance: float = 2.0
    identity_guidance: float = 0.0
    warp_strength: float = 0.0
    """How much sampling starts from the warped photos (``warped_init.draw_warped_init``): 0 from pure noise, as in the
    paper; 1 from as much of them as ``WarpedInit.share`` allows."""

    def replaced(
        self, guidance: float | None = None, identity_guidance: float | None = None, warp_strength: float | None = None
    ) -> Strength:
        """The same with what is not None instead."""
        given = {"guidance": guidance, "identity_guidance": identity_guidance, "warp_strength": warp_strength}
        return replace(self, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class FaceXComponents:
    """Everything an editor edits with."""

    steered: SteeredUNet
    controller: Controller
    base: Base
    decomposer: Decomposer
    strength: Strength
    """What the controller's header says; an edit may say otherwise."""


def load_components(
    source: str | os.PathLike[str],
    base: str | os.PathLike[str] | None,
    device: torch.device,
    dtype: torch.dtype,
    identity: str | None = None,
    regions: str | None = None,
    motion: str | None = None,
) -> FaceXComponents:
    """Load what ``source`` names: a controller's file, or a folder with ``controller.safetensors``.

    base: the model to steer; by default the folder ``base`` beside the controller, else the one its header names.
    Raises ``InputError`` with the way out.
    """
    file = controller_file(source)
    controller, header = load_controller(file)
    found = load_base(base if base is not None else default_base(file, header), device, dtype)
    controller = controller.to(device, dtype)
    steered = SteeredUNet(found.unet, controller, found.name)
    decomposer = load_decomposer(controller.config, found.codec, identity, regions, device, motion)
    return FaceXComponents(steered, controller, found, decomposer, strength_of(header))


def strength_of(header: Mapping[str, Any]) -> Strength:
    """The weights' own, from a controller's header; the defaults of ``Strength`` where it names none."""
    header = renamed(header, CONTROLLER_HEADER)
    return Strength(**{f.name: float(header.get(f.name, f.default)) for f in fields(Strength)})


def find_style(style: str | os.PathLike[str]) -> str:
    """A style's base: the registry's name of one that comes with Limner (``pencil``), else a folder. ``InputError``,
    one line, for neither."""
    if not isinstance(style, str | os.PathLike):
        raise InputError(f"a style is a name or a folder, not {type(style).__name__}")
    name = os.fspath(style)
    shipped = f"{NANO}-{name}"
    if shipped in registry():
        return shipped
    if name not in registry() and not Path(name).expanduser().is_dir():
        known = ", ".join(each.removeprefix(f"{NANO}-") for each in registry() if each.startswith(f"{NANO}-"))
        raise InputError(
            f"unknown style {name!r}: choose {known}, or give the folder of a base model of the same family "
            "(configs/facex-nano-pencil.toml trains one)"
        )
    return name


def controller_file(source: str | os.PathLike[str]) -> Path:
    """The controller's file. ``InputError`` if it is not there."""
    place = Path(locate(source))
    file = place / CONTROLLER if place.is_dir() else place
    if not file.is_file():
        raise InputError(f"no {CONTROLLER} in {place}: give the folder or file of a trained FaceX controller")
    return file


def is_facex(source: str | os.PathLike[str]) -> bool:
    """Whether weights at that place are a FaceX's."""
    place = Path(locate(source))
    return place.name == CONTROLLER or (place / CONTROLLER).is_file()


def default_base(file: Path, header: dict[str, Any] | None = None) -> str | Path:
    """The base of a controller: the folder beside it, else what its header names (a registry name, or a folder below
    LIMNER_DATA)."""
    if (file.parent / BASE / "unet").is_dir():
        return file.parent / BASE
    name = (read_controller_header(file) if header is None else header).get("base")
    if not isinstance(name, str):
        raise InputError(f"{file} does not name its base model: give one with --base FOLDER")
    try:
        return name if name in registry() else base_folder(name)
    except InputError as error:
        raise InputError(f"{file.name}: {error}; give it with --base FOLDER") from None
