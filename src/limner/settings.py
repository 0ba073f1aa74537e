"""Settings of requests: their types, for signatures; and their limits, each refused in a sentence with the way out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from limner.errors import InputError

if TYPE_CHECKING:
    from limner.faces.picture import Source
    from limner.models.unif2ace.engine import Stream
    from limner.models.unif2ace.generation import SamplingParams
    from limner.progress import PreviewCallback, ProgressCallback

BATCH = 8
"""Pictures, or faces spoken about, that an engine computes at once."""

Whole = Mapping[str, tuple[int, int]]
"""Names of whole numbers, and the least and most each may be."""
Scales = Mapping[str, tuple[float, float]]
"""The same of numbers."""


class PaintSettings(TypedDict, total=False):
    """Keyword arguments of ``paint``. ``MDiTFace.paint`` and ``UniF2ace.paint`` say what each means and its default."""

    steps: int
    guidance: float | None
    seed: int
    sampler: str
    callback: ProgressCallback | None
    mask_guidance: float | None  # MDiTFace alone, as are the next three
    merge: int | str | None
    size: int | None
    palette: str
    temperature: float | None  # UniF²ace alone, as is the next
    best: int


class TurnSettings(TypedDict, total=False):
    """How one turn of a conversation is written; ``UniF2ace.ask`` says what each means."""

    limit: int
    sampling: SamplingParams | None
    seed: int


class AnswerSettings(TurnSettings, total=False):
    """Keyword arguments of ``describe`` and ``ask``."""

    stream: Stream | None


class ChatSettings(TurnSettings, total=False):
    """Keyword arguments of ``chat``; ``before``: turns of an earlier conversation, questions and answers."""

    before: Sequence[tuple[str, str]]


class BatchedSettings(TypedDict, total=False):
    """Keyword arguments of ``UniF2ace.describe_each`` and ``ask_each`` besides ``seed``."""

    limit: int
    sampling: SamplingParams | None
    stream: Stream | None


class SamplingSettings(TypedDict, total=False):
    """Keyword arguments of ``swap``, ``reenact`` and ``animate``; ``FaceX.edit`` says what each means."""

    face: int | None
    faces: Mapping[str, int] | None
    seed: int
    steps: int
    guidance: float | None
    identity_guidance: float | None
    warp_strength: float | None
    sampler: str
    callback: ProgressCallback | None
    watch: PreviewCallback | None


class EditSettings(SamplingSettings, total=False):
    """Keyword arguments of ``edit``: those, and the other photos that its plan names."""

    photos: Mapping[str, Source] | None


def check_numbers(settings: Mapping[str, Any], whole: Whole, scales: Scales) -> None:
    """``InputError`` naming the first setting that is no such number, or out of its limits. Yes and no are no numbers
    to count with."""
    for name, (low, high) in whole.items():
        value = settings[name]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InputError(f"{name}={value!r}: choose a whole number from {low} to {high}")
    for name, (low, high) in scales.items():
        value = settings[name]
        # nan is outside every range
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise InputError(f"{name}={value!r}: choose a number from {low} to {high}")


def check_sampler(sampler: Any, samplers: Iterable[str]) -> None:
    """``InputError`` for a sampler that is none of these."""
    if not isinstance(sampler, str) or sampler not in samplers:
        raise InputError(f"sampler {sampler!r} does not exist: choose {' or '.join(samplers)}")


def check_device(device: Any, precision: Any) -> None:
    """``InputError`` for a device that is not written ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, and for a precision
    other than ``auto``, ``bf16`` and ``fp32``. Whether the device is there is not looked at."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(device)):
        raise InputError(f"device={device!r}: choose auto, cpu, cuda or cuda:N")
    if precision not in ("auto", "bf16", "fp32"):
        raise InputError(f"precision={precision!r}: choose auto, bf16 or fp32")


def check_text(text: Any, name: str = "text") -> None:
    """``InputError`` for what is no string."""
    if not isinstance(text, str):
        raise InputError(f"{name} must be a string, not {type(text).__name__} ({_short(text)})")


def _short(value: Any) -> str:
    """A value in at most 40 characters, on one line."""
    shown = " ".join(repr(value).split())
    return shown if len(shown) <= 40 else f"{shown[:39]}…"
