"""One photograph, read once, and an editor small enough for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data

import limner
from facex.tiny import write_editor
from limner.faces.geometry import resize
from limner.faces.picture import read_picture
from limner.faces.reader import FaceReader
from limner.faces.record import Face
from limner.models.facex.engine import FaceX


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """scikit-image's astronaut (public domain), her head and shoulders: (260, 280, 3) uint8."""
    return np.ascontiguousarray(skimage.data.astronaut()[10:270, 90:370])


@pytest.fixture(scope="session")
def couple() -> np.ndarray:
    """Two of the demo's portraits side by side, the larger at the left up to column 640: (640, 1040, 3) uint8."""
    people = Path(limner.__file__).parent / "demo" / "photographs"
    photo = np.full((640, 1040, 3), 200, np.uint8)
    photo[:, :640] = read_picture(people / "face-10018.jpg")
    photo[:400, 640:] = resize(read_picture(people / "face-10015.jpg"), (400, 400))
    return photo


@pytest.fixture(scope="session")
def reader() -> FaceReader:
    return FaceReader.load()


@pytest.fixture(scope="session")
def face(reader: FaceReader, photo: np.ndarray) -> Face:
    (found,) = reader.read(photo)
    return found


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random editor's folder: controller and base."""
    return write_editor(tmp_path_factory.mktemp("editor"))


@pytest.fixture(scope="session")
def editor(weights: Path, reader: FaceReader) -> FaceX:
    return FaceX.load(weights, device="cpu", precision="fp32", reader=reader)
