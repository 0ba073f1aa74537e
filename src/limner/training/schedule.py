"""Learning-rate schedule."""

from __future__ import annotations

import math


def learning_rate(step: int, peak: float, final: float, warmup: int, steps: int) -> float:
    """Linear warm-up to `peak` over `warmup` steps, then half a cosine down to `final` at `steps`.

    `step` is the number of optimiser steps already taken.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * progress))
