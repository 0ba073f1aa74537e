"""Videos: tracked, smoothed, edited, their sound kept, gone on with after an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from limner.errors import InputError
from limner.faces.reader import FaceReader
from limner.models.facex.engine import FaceX
from limner.models.facex.film import edit_video
from limner.models.facex.plan import CANVAS, EditPlan
from limner.models.facex.video import Clip, Track, follow, smooth, write_video

av = pytest.importorskip("av")
FRAMES = 4
QUICK = {"steps": 1, "guidance": 1.0, "manifest": False}


def write_clip(path: Path, frames: list[np.ndarray]) -> Path:
    """Frames with a tone, as a camera writes them."""
    write_video(path.with_name("silent.mp4"), iter(frames), 10.0, None, {})
    with av.open(str(path.with_name("silent.mp4"))) as silent, av.open(str(path), "w") as film:
        stream = film.add_stream_from_template(silent.streams.video[0])
        voice = film.add_stream("aac", rate=8000, layout="mono")
        for packet in silent.demux(silent.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                film.mux(packet)
        tone = np.sin(np.arange(3200) / 8)[None].astype(np.float32)
        sound = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        sound.sample_rate = 8000
        film.mux(voice.encode(sound))
        film.mux(voice.encode())
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> Path:
    frames = [np.roll(photo, 2 * k, 1) for k in range(FRAMES)]
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames)


@pytest.fixture(scope="module")
def track(clip: Path, reader: FaceReader) -> Track:
    return follow(Clip.open(clip), reader)


def test_a_clip_is_its_frames(clip: Path, photo: np.ndarray, tmp_path: Path) -> None:
    opened = Clip.open(clip)
    frames = list(opened)
    assert (opened.frames, opened.rate, len(frames)) == (FRAMES, 10.0, FRAMES)
    assert np.abs(frames[0].astype(int) - photo).mean() < 6
    (tmp_path / "no.mp4").write_text("no")
    with pytest.raises(InputError, match=r"no\.mp4 is not a video"):
        Clip.open(tmp_path / "no.mp4")


def test_smoothing_keeps_what_is_steady_and_calms_what_is_not() -> None:
    random = np.random.default_rng(0)
    assert np.allclose(smooth(np.full((9, 2), 3.0), 2.0), 3.0)
    line = np.arange(20.0)[:, None]
    assert np.allclose(smooth(line, 1.0)[5:15], line[5:15])
    noise = random.normal(size=(60, 3))
    assert np.abs(np.diff(smooth(noise, 2.0), axis=0)).mean() < 0.3 * np.abs(np.diff(noise, axis=0)).mean()


def test_the_track_follows_the_face(track: Track) -> None:
    assert track.found.all() and track.crop.shape == (FRAMES, 2, 3) and track.regions.shape == (FRAMES, 256, 256)
    moved = track.smoothed()
    # the head moves two pixels a frame to the right, so the crop's offset falls by as many of its own
    scale = np.sqrt(np.linalg.det(track.crop[0, :, :2]))
    shift = track.crop[-1, :, :2] @ [2 * (FRAMES - 1), 0] + track.crop[-1, :, 2] - track.crop[0, :, 2]
    assert np.abs(shift).max() < 6 * scale
    assert moved.crop.shape == track.crop.shape and not np.array_equal(moved.crop, track.crop)


def test_a_photo_follows_a_video_and_an_interrupted_film_goes_on(
    clip: Path, editor: FaceX, photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = {CANVAS: editor.subject(photo, None, "photo")}
    plan, out = EditPlan.reenact("driver"), tmp_path / "film.mp4"
    painted: list[int] = []
    paint = editor.paint
    monkeypatch.setattr("limner.models.facex.film.BATCH", 2)
    monkeypatch.setattr(editor, "paint", lambda edits, *more: painted.append(len(edits)) or paint(edits, *more))

    def stop(what: str, done: int, total: int) -> None:
        if what == "painting" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edit_video(editor, plan, clip, "driver", still, out, progress=stop, **QUICK)
    assert painted == [2] and not out.exists()
    recipe = edit_video(editor, plan, clip, "driver", still, out, **QUICK)
    assert sum(painted) == FRAMES and max(painted) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4"]
    made = list(Clip.open(out))
    assert len(made) == FRAMES and made[0].shape == photo.shape
    with av.open(str(out)) as film:
        assert json.loads(film.metadata["comment"]) == recipe
        assert sum(frame.samples for frame in film.decode(audio=0)) >= 3200
    whole = edit_video(editor, plan, clip, "driver", still, tmp_path / "again.mp4", **QUICK)
    assert {**whole} == recipe and np.array_equal(np.stack(made), np.stack(list(Clip.open(tmp_path / "again.mp4"))))


def test_a_face_is_swapped_into_every_frame(clip: Path, editor: FaceX, photo: np.ndarray, tmp_path: Path) -> None:
    other = {"source": editor.subject(np.ascontiguousarray(photo[:, :, ::-1]), None, "source")}
    settings = {"watermark": False, "consent": "asked", **QUICK}
    recipe = edit_video(editor, EditPlan.swap("source"), clip, CANVAS, other, tmp_path / "film.mp4", **settings)
    assert recipe["consent"] == "asked"
    before, after = list(Clip.open(clip)), list(Clip.open(tmp_path / "film.mp4"))
    assert len(after) == FRAMES
    for old, new in zip(before, after):
        change = np.abs(old.astype(int) - new).mean(-1)
        assert change[90:170, 100:170].mean() > 3 * change[:, :40].mean()
    with pytest.raises(InputError, match=r"name the film \.mp4"):
        edit_video(editor, EditPlan.swap("source"), clip, CANVAS, other, tmp_path / "film.avi", **QUICK)
