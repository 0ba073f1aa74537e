"""Videos: edited, their times and sound kept, gone on with after an interruption."""

from __future__ import annotations

import json
import struct
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from limner.data.video_frame import read_frame
from limner.data.video_people import Clip as Filmed
from limner.data.video_people import VideoSettings, sample_frames
from limner.errors import InputError
from limner.faces.picture import read_picture
from limner.faces.video import Clip
from limner.models.facex.engine import FaceX
from limner.models.facex.face_track import Track
from limner.models.facex.plan import CANVAS, EditPlan
from limner.models.facex.video_edit import edit_video
from limner.models.facex.video_writer import FrameStore, write_video

av = pytest.importorskip("av")
FRAMES = 4
QUICK = {"steps": 1, "guidance": 1.0, "manifest": False}


def write_tone(path: Path, seconds: float) -> Path:
    """A film's sound alone."""
    with av.open(str(path), "w") as film:
        voice = film.add_stream("aac", rate=8000, layout="mono")
        tone = np.sin(np.arange(int(8000 * seconds)) / 8)[None].astype(np.float32)
        sound = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        sound.sample_rate = 8000
        film.mux(voice.encode(sound))
        film.mux(voice.encode())
    return path


def write_clip(path: Path, frames: list[np.ndarray]) -> Path:
    """Frames with a tone, as a camera writes them."""
    write_video(path, frames, 10.0, write_tone(path.with_name("tone.mp4"), 0.4), {})
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> Path:
    frames = [np.roll(photo, 2 * k, 1) for k in range(FRAMES)]
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames)


def test_a_track_of_an_older_version_is_made_again(tmp_path: Path) -> None:
    made = Track(**{each.name: np.arange(3.0) for each in fields(Track)})
    workshop = FrameStore(tmp_path / "film.mp4", {})
    assert workshop.track(lambda: made) is made
    kept = workshop.track(lambda: pytest.fail("it is kept"))
    assert vars(kept).keys() == vars(made).keys() and np.array_equal(kept.irises, made.irises)
    older = {name: values for name, values in vars(made).items() if name != "irises"}
    np.savez_compressed(workshop.folder / "track.npz", **older)
    assert workshop.track(lambda: made) is made


def test_a_clip_is_its_frames(clip: Path, photo: np.ndarray, tmp_path: Path) -> None:
    opened = Clip.open(clip)
    frames = list(opened)
    assert (opened.frames, opened.rate, len(frames)) == (FRAMES, 10.0, FRAMES)
    assert np.abs(frames[0].astype(int) - photo).mean() < 6
    (tmp_path / "no.mp4").write_text("no")
    with pytest.raises(InputError, match=r"no\.mp4 is not a video"):
        Clip.open(tmp_path / "no.mp4")


@pytest.mark.parametrize(("turns", "matrix"), [(1, (0, 1, -1, 0)), (2, (-1, 0, 0, -1)), (3, (0, -1, 1, 0))])
def test_a_film_held_sideways_is_turned_upright(turns: int, matrix: tuple[int, ...], tmp_path: Path) -> None:
    """turns: quarters clockwise. QuickTime's matrix (a, b, c, d) shows (x, y) at (a x + c y, b x + d y), y downward."""
    stored = np.zeros((32, 64, 3), np.uint8)
    stored[:16, :32] = 250
    write_video(tmp_path / "clip.mp4", [stored] * 3, 10.0, None, {})
    file = (tmp_path / "clip.mp4").read_bytes()
    a, b, c, d = (value * 0x10000 for value in matrix)
    as_it_was = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    track = file.index(as_it_was, file.index(b"tkhd"))
    turned = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    (tmp_path / "clip.mp4").write_bytes(file[:track] + turned + file[track + len(turned) :])
    person = Filmed("clip", tmp_path / "clip.mp4")
    seen = [*Clip.open(tmp_path / "clip.mp4"), read_picture(read_frame(tmp_path / "clip.mp4"))]
    seen += [frame for _, frame in sample_frames(person, VideoSettings(every=0.1))]
    wanted = np.rot90(stored, -turns)
    assert len(seen) == 7
    for frame in seen:
        assert frame.shape == wanted.shape and np.abs(frame.astype(int) - wanted).mean() < 8


def test_frames_keep_their_times_and_stand_beside_their_sound(tmp_path: Path) -> None:
    seconds = [0.0, 0.5, 0.6, 1.5, *np.arange(2.0, 30.0, 0.5)]
    frames = [np.full((64, 64, 3), 4 * k, np.uint8) for k in range(len(seconds))]
    write_tone(tmp_path / "sound.mp4", seconds=30)
    write_video(tmp_path / "film.mp4", frames, 2.0, tmp_path / "sound.mp4", {}, seconds)
    assert [when for when, _ in Clip.open(tmp_path / "film.mp4").timed()] == pytest.approx(seconds, abs=1e-5)
    with av.open(str(tmp_path / "film.mp4")) as film:
        packets = [packet for packet in film.demux() if packet.dts is not None]
        order = sorted((packet.pos, float(packet.dts * packet.time_base)) for packet in packets)
        assert {packet.stream.type for packet in packets} == {"audio", "video"}
    stored = [when for _, when in order]
    assert (np.maximum.accumulate(stored) - stored).max() < 1.5  # or a player would have to jump to and fro


def test_a_photo_follows_a_video_and_an_interrupted_film_goes_on(
    clip: Path, editor: FaceX, photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = {CANVAS: editor.subject(photo, None, "photo")}
    plan, out = EditPlan.reenact("driver"), tmp_path / "film.mp4"
    painted: list[int] = []
    paint = editor.paint
    monkeypatch.setattr("limner.models.facex.video_edit.BATCH", 2)
    monkeypatch.setattr(editor, "paint", lambda edits, *more: painted.append(len(edits)) or paint(edits, *more))

    def stop(what: str, done: int, total: int) -> None:
        if what == "painting" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edit_video(editor, plan, clip, "driver", still, out, progress=stop, **QUICK)
    assert painted == [2] and not out.exists()
    with pytest.raises(InputError, match=r"film.mp4.parts holds frames of a film that was to be made otherwise: .*"):
        edit_video(editor, plan, clip, "driver", still, out, seed=1, **QUICK)
    changed = tmp_path / clip.name  # as long as the other, to the byte, and not the same
    changed.write_bytes(clip.read_bytes()[:-1] + bytes([clip.read_bytes()[-1] ^ 1]))
    with pytest.raises(InputError, match="made otherwise"):
        edit_video(editor, plan, changed, "driver", still, out, **QUICK)
    changed.unlink()
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
    with pytest.raises(InputError, match=r"must be an \.mp4 file"):
        edit_video(editor, EditPlan.swap("source"), clip, CANVAS, other, tmp_path / "film.avi", **QUICK)
