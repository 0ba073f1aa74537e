"""People from folders: real videos and frames, made from a real photograph, through the real face reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from limner.data.build import build
from limner.data.shards import iterate
from limner.data.stages import RecordSettings
from limner.data.video_people import VideoSettings, build_spec, find_people, follow, load_tools, sample_frames
from limner.errors import InputError
from limner.faces.record import Face, Pose

av = pytest.importorskip("av", reason="the extra video is not installed")
RECORD = RecordSettings(captions=1, prompts=0, questions=0, min_size=40)
SETTINGS = VideoSettings(variants=3, every=0.5, frames=4, differs=0.1, record=RECORD)


def scene(step: int, seconds: int = 4) -> np.ndarray:
    """The astronaut, slowly squeezed (as a head that turns) and lit from the left; (240, 320, 3)."""
    share = step / (seconds * 10)
    photo = Image.fromarray(skimage.data.astronaut()[0:300, 60:440])
    photo = photo.transform((380, 300), Image.Transform.AFFINE, (1, 0.25 * share, -20 * share, 0, 1, 0)).resize(
        (320, 240)
    )
    light = 1 + 0.5 * share * np.linspace(1, -1, 320)[None, :, None]
    return np.clip(np.asarray(photo) * light, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people: one in a video of four seconds (with a second, broken one), one in frames; and an empty folder."""
    root = tmp_path_factory.mktemp("people")
    (root / "id1" / "talk").mkdir(parents=True)
    with av.open(str(root / "id1" / "talk" / "00001.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 320, 240, "yuv420p", 2_000_000
        for step in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene(step), format="rgb24")))
        container.mux(stream.encode())
    (root / "id1" / "broken.mp4").write_bytes(b"no video")
    (root / "id2" / "clip").mkdir(parents=True)
    for k in (0, 20, 39):
        Image.fromarray(scene(k)).save(root / "id2" / "clip" / f"{k:04d}.png")
    Image.fromarray(skimage.data.coffee()[:200, :200]).save(root / "id2" / "clip" / "0040.png")
    (root / "nobody").mkdir()
    return root


def test_people_and_clips_are_found(people: Path) -> None:
    found = find_people(people, licence="public domain")
    assert [person.id.split("/")[1] for person in found] == ["id1", "id2"]
    assert [clip.name for clip in found[0].clips] == ["broken.mp4", "talk/00001.mp4"]
    assert len(found[1].clips[0].frames) == 4 and found[1].licence == "public domain"
    with pytest.raises(InputError, match="no people in"):
        find_people(people / "nobody")


def test_frames_are_spread_over_a_video(people: Path) -> None:
    clip = find_people(people)[0].clips[1]
    times = [time for time, frame in sample_frames(clip, SETTINGS) if frame.shape == (240, 320, 3)]
    assert times == pytest.approx([0, 1, 2, 3], abs=0.11)  # four, evenly, though every half second was asked for
    with pytest.raises(InputError, match="no video that can be read"):
        list(sample_frames(find_people(people)[0].clips[0], SETTINGS))


def test_pictures_of_each_person_become_a_pair_set(people: Path, tmp_path: Path) -> None:
    manifest = build(find_people(people), tmp_path / "set", SETTINGS, workers=1, build_spec=build_spec())
    rows = list(
        iterate(tmp_path / "set", None, ["id", "person", "variant", "identity_distance", "clip", "seconds", "image"])
    )
    by_person = {name: [r for r in rows if r["person"].endswith(name)] for name in ("id1", "id2")}
    assert manifest["rows"] == len(rows)
    for found in by_person.values():
        assert 2 <= len(found) <= 3 and sorted(r["variant"] for r in found) == list(range(len(found)))
        assert all(r["identity_distance"] < SETTINGS.limit for r in found)
    assert all(r["clip"] == "talk/00001.mp4" and r["seconds"] is not None for r in by_person["id1"])
    assert all(r["clip"] == "clip" and r["seconds"] is None for r in by_person["id2"])
    reasons = (tmp_path / "set" / "errors.jsonl").read_text()
    assert "no video that can be read" in reasons and "no face found" in reasons


def row(x: float, identity: float) -> dict:
    """A measured face at x with this one-number identity."""
    face = Face(
        box=np.zeros(4), score=1.0, landmarks=np.zeros((468, 3)), irises=np.zeros((2, 5, 2)), pose=Pose(0, 0, 0),
        gaze=np.zeros(2), expression=np.zeros(44), light=np.zeros(27), regions=np.zeros((4, 4), np.uint8),
        crop=np.eye(2, 3), identity=np.array([identity]), attributes={},
    )  # fmt: skip
    return {"box": np.array([x, 0, x + 100, 100.0]), "face": face, "name": (x, identity)}


def test_one_face_is_followed_by_place_and_identity() -> None:
    frames = [
        [row(0, 0.0), row(300, 2.0)],
        [row(290, 2.0), row(20, 0.1)],  # the other is larger now: stay with the first
        [row(30, 1.5)],  # somebody else stands where they stood
        [],
        [row(200, 0.05)],  # far away, but the same
        [row(200, 0.55)],  # in the same place, a little less alike
        [row(900, 0.80)],  # neither
    ]
    assert [each["name"] for each in follow(frames)] == [(0, 0.0), (20, 0.1), (200, 0.05), (200, 0.55)]


def test_blurred_faces_are_left_out(tmp_path: Path) -> None:
    from limner.data.video_people import make_people

    (tmp_path / "who").mkdir()
    sharp = Image.fromarray(skimage.data.astronaut()[0:300, 60:440])
    for k in range(3):
        tiny = sharp.resize((48 + k, 38 + k)).resize((380, 300), Image.Resampling.BICUBIC)
        tiny.save(tmp_path / "who" / f"{k}.png")
    rows, errors = make_people(find_people(tmp_path), load_tools(), SETTINGS)
    assert rows == [] and sum(error["reason"] == "the face is blurred" for error in errors) >= 1


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="every is 0"):
        VideoSettings(every=0)
    with pytest.raises(InputError, match="frames is 0"):
        VideoSettings(frames=0)
