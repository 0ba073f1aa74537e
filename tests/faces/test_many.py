"""Several photographs at once, and faces under the names that other libraries use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import limner
from limner.errors import InputError
from limner.faces.data_folders import expand_photos
from limner.faces.reader import FaceReader
from limner.faces.record import Face, choose_face


@pytest.fixture(scope="module")
def reader() -> FaceReader:
    return FaceReader.load()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    """her.png, below/mirrored.jpg, nobody.png, broken.png, a hidden file and a text."""
    place = tmp_path_factory.mktemp("photos")
    Image.fromarray(astronaut).save(place / "her.png")
    (place / "below").mkdir()
    Image.fromarray(astronaut[:, ::-1]).save(place / "below" / "mirrored.jpg", quality=95)
    Image.new("RGB", (200, 150), (90, 120, 140)).save(place / "nobody.png")
    (place / "broken.png").write_bytes((place / "her.png").read_bytes()[:5000])
    (place / "._her.png").write_bytes(b"resource fork")
    (place / "notes.txt").write_text("no picture")
    return place


def same(one: Face, other: Face) -> None:
    assert np.allclose(one.box, other.box, atol=1e-3) and np.allclose(one.landmarks, other.landmarks, atol=1e-3)
    assert np.allclose(one.identity, other.identity, atol=1e-3)
    assert (one.regions != other.regions).mean() < 1e-3
    assert {k: a.value for k, a in one.attributes.items() if k != "age"} == {
        k: a.value for k, a in other.attributes.items() if k != "age"
    }


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_many_are_read_as_each_alone(reader: FaceReader, astronaut: np.ndarray, place, batch_size: int) -> None:
    """Photos of different sizes, none, one and two faces: the same records in the same order."""
    photos = [
        place(400, 700, (180, 200, 120, 0), (520, 200, 90, 0)), np.full((90, 60, 3), 128, np.uint8), astronaut
    ]  # fmt: skip
    results = list(reader.read_many(photos, batch_size=batch_size))
    assert [len(result.faces) for result in results] == [2, 0, 1]
    for photo, result in zip(photos, results, strict=True):
        assert result.photo is photo and result.error is None
        for one, other in zip(result.faces, reader.read(photo), strict=True):
            same(one, other)


def test_it_is_lazy(reader: FaceReader, astronaut: np.ndarray) -> None:
    taken = []

    def photos():
        for number in range(6):
            taken.append(number)
            yield astronaut

    results = reader.read_many(photos(), recognise=False, batch_size=2)
    next(results)
    assert taken == [0, 1]


def test_errors_are_raised_or_yielded(reader: FaceReader, astronaut: np.ndarray, folder: Path) -> None:
    photos = [astronaut, folder / "broken.png", astronaut]
    results = reader.read_many(photos, recognise=False)
    assert len(next(results).faces) == 1  # what came before the error is not lost
    with pytest.raises(InputError, match=r"broken\.png"):
        next(results)
    first, broken, last = reader.read_many(photos, recognise=False, on_error="yield")
    assert "broken.png" in str(broken.error) and broken.faces == []
    assert len(first.faces) == len(last.faces) == 1
    for wrong in ({"on_error": "skip"}, {"batch_size": 0}, {"batch_size": "8"}, {"min_score": 5}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            reader.read_many(photos, **wrong)  # type: ignore[arg-type]


def test_folders_patterns_and_lists(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    files = {"her.png", "below/mirrored.jpg", "nobody.png", "broken.png"}
    found = expand_photos([folder])
    assert {Path(str(path)).relative_to(folder).as_posix() for path in found} == files
    assert found == sorted(found, key=str)  # type: ignore[type-var]
    assert [Path(str(p)).name for p in expand_photos([f"{folder}/**/m*.jpg"])] == ["mirrored.jpg"]
    assert expand_photos(["a.png", b"bytes"]) == ["a.png", b"bytes"]
    odd = folder.parent / "a [b]*.png"
    odd.write_bytes((folder / "her.png").read_bytes())
    assert expand_photos([str(odd)]) == [str(odd)]  # a file of that name is that file
    for nothing in (f"{folder}/*.tiff", str(folder.parent / "none")):
        Path(folder.parent / "none").mkdir(exist_ok=True)
        with pytest.raises(InputError, match="names no picture"):
            expand_photos([nothing])


def test_toolkit_reads_one_or_several(folder: Path, astronaut: np.ndarray) -> None:
    model = limner.load()
    assert isinstance(model.read(astronaut), list)
    results = list(model.read_many(folder, on_error="yield"))
    assert [Path(str(result.photo)).name for result in results] == [
        "mirrored.jpg",
        "broken.png",
        "her.png",
        "nobody.png",
    ]
    assert [len(result.faces) for result in results] == [1, 0, 1, 0]
    by_pattern = list(model.read(str(folder / "h*.png")))
    assert len(by_pattern) == 1 and len(by_pattern[0].faces) == 1  # type: ignore[union-attr]
    by_list = list(model.read([folder / "her.png", folder / "nobody.png"]))
    assert [len(result.faces) for result in by_list] == [1, 0]


def test_other_libraries_names(reader: FaceReader, astronaut: np.ndarray) -> None:
    face = reader.read(astronaut)[0]
    assert face.bbox is face.box and face.embedding is face.identity and face.det_score == face.score
    assert face.sex == "F" and isinstance(face.age, int) and 15 < face.age < 60
    right_eye, left_eye, nose, mouth_right, mouth_left = face.kps
    assert face.kps.shape == (5, 2) and face.kps.dtype == np.float32
    # she looks into the camera: her right is the picture's left, eyes above nose above mouth
    assert right_eye[0] < nose[0] < left_eye[0] and mouth_right[0] < nose[0] < mouth_left[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(mouth_right[1], mouth_left[1])
    bare = reader.read(astronaut, recognise=False)[0]
    assert bare.age is None and bare.sex is None and np.isnan(bare.embedding).all()


def test_choosing_a_face(reader: FaceReader, astronaut: np.ndarray) -> None:
    faces = reader.read(astronaut, recognise=False)
    assert choose_face(faces, None, "photo") is choose_face(faces, 1, "photo") is faces[0]
    for number in (0, 2, "1"):
        with pytest.raises(InputError, match="there is no face"):
            choose_face(faces, number, "photo")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no face was found"):
        choose_face([], None, "photo")
