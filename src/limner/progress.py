"""How long work says where it is, and is stopped: what engines call, and whoever waits for them gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ProgressCallback = Callable[[int, int], None]
"""(steps, faces or pictures done, in all). To cancel, raise."""

Preview = Callable[[], "np.ndarray | list[np.ndarray]"]
PreviewCallback = Callable[[int, int, Preview], None]
"""(steps done, steps in all, look): look() shows the pictures at work as they would be now, uint8 (H, W, 3) each, one
array where they are of one size. It costs a decoding, so call it now and then. To cancel, raise."""
