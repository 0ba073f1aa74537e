"""Single frames of video clips, as pictures (extra `video`)."""

from __future__ import annotations

from pathlib import Path

from limner.faces.picture import encode_png
from limner.faces.video import frame_at


def read_frame(path: Path, where: float = 0.5) -> bytes:
    """The frame at a share `where` (0..1) of a clip's length, as PNG bytes. Raises InputError for a damaged clip."""
    return encode_png(frame_at(path, where))
