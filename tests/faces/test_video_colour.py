"""Films as they are shown: pixel shape, odd sides, HDR, and files that were cut off."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limner.errors import InputError
from limner.faces.video import Clip
from limner.faces.video_colour import GAMMA, REFERENCE_WHITE, hlg_to_display, pq_to_display
from limner.models.facex.video_writer import write_video

av: Any = pytest.importorskip("av", reason="the extra 'video' is not installed")
PATCHES = np.array([[180, 60, 40], [40, 90, 200], [118, 112, 104], [250, 250, 250]], np.uint8)


def card(height: int, width: int) -> np.ndarray:
    """Four flat patches beside each other."""
    return np.tile(PATCHES.repeat(-(-width // 4), 0)[:width], (height, 1, 1))


def middles(frame: np.ndarray) -> np.ndarray:
    quarter = frame.shape[1] / 4
    return np.stack([frame[frame.shape[0] // 2, int((k + 0.5) * quarter)] for k in range(4)]).astype(int)


@pytest.mark.parametrize("size", [(120, 160), (121, 160), (120, 161), (121, 161)])
def test_sides_pixels_and_colours_are_kept(tmp_path: Path, size: tuple[int, int]) -> None:
    write_video(tmp_path / "x.mp4", [card(*size)] * 3, 10.0, None, {}, pixel=Fraction(4, 3))
    clip = Clip.open(tmp_path / "x.mp4")
    frames = list(clip)
    assert len(frames) == 3 and frames[0].shape[:2] == size and clip.pixel == Fraction(4, 3) and clip.whole
    assert np.abs(middles(frames[0]) - PATCHES).max() <= 3
    with av.open(str(tmp_path / "x.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)) == (1, 1, 1)


def test_a_film_that_was_cut_off_goes_as_far_as_it_goes(tmp_path: Path) -> None:
    frames = [card(120, 160) ^ np.uint8(k) for k in range(12)]
    write_video(tmp_path / "whole.mp4", frames, 10.0, None, {})
    moved = tmp_path / "streamable.mp4"  # the header first, as downloads have it
    with (
        av.open(str(tmp_path / "whole.mp4")) as old,
        av.open(str(moved), "w", options={"movflags": "faststart"}) as new,
    ):
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    with av.open(str(moved)) as container:
        ends = [packet.pos + packet.size for packet in container.demux(video=0) if packet.size]
    data = moved.read_bytes()
    for end, left in ((ends[6], 7), (ends[6] + 3, 7)):  # between two pictures, and within the eighth
        (tmp_path / "cut.mp4").write_bytes(data[:end])
        clip = Clip.open(tmp_path / "cut.mp4")
        assert not clip.whole and len(list(clip)) == left
    assert Clip.open(moved).whole
    (tmp_path / "cut.mp4").write_bytes(data[: ends[0] - 20])
    with pytest.raises(InputError, match="cut off within its first picture"):
        Clip.open(tmp_path / "cut.mp4")


def test_hlg_and_pq_give_back_what_was_put_in() -> None:
    """Inverse functions of BT.2100, written out here."""
    light = (PATCHES / 255.0) ** GAMMA  # of a display
    luminance = light @ np.array([0.2627, 0.6780, 0.0593])
    scene = light * luminance[:, None] ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    hlg = np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)
    assert np.allclose(hlg_to_display(hlg), light, atol=2e-3)
    power = (light * REFERENCE_WHITE / 10000) ** (1305 / 8192)
    pq = ((107 / 128 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    shown = pq_to_display(pq)
    assert np.allclose(shown[light <= 0.75], light[light <= 0.75], atol=2e-3)
    assert (shown <= 1).all() and shown[-1, 0] > 0.85


def test_an_hlg_film_is_read_as_the_picture_it_was_made_from(tmp_path: Path) -> None:
    light = (card(64, 160) / 255.0) ** GAMMA
    scene = light * (light @ [0.2627, 0.6780, 0.0593])[..., None] ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    signal = np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)
    with av.open(str(tmp_path / "hlg.mov"), "w") as film:
        stream = film.add_stream("libx265", rate=10, options={"x265-params": "log-level=none", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 160, 64, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = 18, 1, 1, 1
        frame = av.VideoFrame.from_ndarray((signal * 65535).round().astype(np.uint16), format="rgb48le")
        frame = frame.reformat(format="yuv420p10le", src_colorspace=5, dst_colorspace=1)
        frame.color_trc, frame.color_primaries, frame.colorspace = 18, 1, 1
        film.mux(stream.encode(frame))
        film.mux(stream.encode())
    (shown,) = Clip.open(tmp_path / "hlg.mov")
    assert np.abs(middles(shown) - PATCHES).max() <= 8
