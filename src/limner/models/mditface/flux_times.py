"""The shift of a FLUX.1 pipeline's times, as its scheduler's configuration states it; for training and sampling."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

from limner.errors import InputError

from .flow import flux_shift

CONFIG = "scheduler_config.json"
UNKNOWN = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "shift_terminal")


def read_shift(folder: str | Path, dev: bool) -> Callable[[int], float]:
    """Shift of the times by number of image tokens.

    folder: the pipeline's; without ``scheduler/`` the published settings of FLUX.1-dev (``dev``) or of FLUX.1-schnell,
    whose shift is 1. ``InputError`` for a scheduler that spaces times in another way.
    """
    file = Path(folder) / "scheduler" / CONFIG
    if not file.is_file():
        return flux_shift if dev else lambda tokens: 1.0
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is not JSON: fetch it again") from error
    if unknown := [name for name in UNKNOWN if values.get(name)]:
        raise InputError(f"{file}: {unknown[0]} is not a setting of FLUX.1's scheduler that can be followed here")
    if not values.get("use_dynamic_shifting", False):
        shift = float(values.get("shift", 1.0))
        return lambda tokens: shift
    low, high = values.get("base_image_seq_len", 256), values.get("max_image_seq_len", 4096)
    base, most = values.get("base_shift", 0.5), values.get("max_shift", 1.15)
    if values.get("time_shift_type", "exponential") == "linear":
        return lambda tokens: base + (tokens - low) * (most - base) / (high - low)
    return lambda tokens: math.exp(base + (tokens - low) * (most - base) / (high - low))
