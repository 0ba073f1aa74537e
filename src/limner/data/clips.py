"""Single frames of video clips, as pictures (extra `video`)."""

from __future__ import annotations

from pathlib import Path

from limner.errors import InputError
from limner.faces.picture import encode_png


def read_frame(path: Path, where: float = 0.5) -> bytes:
    """The frame at a share `where` (0..1) of a clip's length, as PNG bytes. Raises InputError for a damaged clip."""
    import av

    try:
        with av.open(str(path)) as clip:
            if not clip.streams.video:
                raise InputError(f"{path} holds no video")
            stream = clip.streams.video[0]
            length = clip.duration / av.time_base if clip.duration else 0.0
            target = where * length
            # Seeking lands on a key frame before; from there frames are decoded until the time is reached.
            clip.seek(int(target * av.time_base))
            last = None
            for frame in clip.decode(stream):
                last = frame
                if frame.time is None or frame.time >= target:
                    break
            if last is None:
                raise InputError(f"{path} holds no frames")
            return encode_png(last.to_ndarray(format="rgb24"))
    except av.FFmpegError as error:
        raise InputError(f"{path} is no video that can be decoded ({error.strerror})") from error
