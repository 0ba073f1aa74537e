"""One real photograph, scikit-image's astronaut (public domain), and the networks, loaded once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import skimage.data
from PIL import Image

from limner.faces.detect import FaceDetector
from limner.faces.landmarks import MeshNetwork
from limner.faces.reader import FaceReader
from limner.faces.record import Face
from limner.faces.topology import Topology


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """(512, 512, 3) uint8; one upright woman, smiling, her face about 95 pixels wide."""
    return skimage.data.astronaut()


@pytest.fixture(scope="session")
def portrait(astronaut: np.ndarray) -> Image.Image:
    """Her head and shoulders, without the flag's edge."""
    return Image.fromarray(astronaut[10:270, 90:370])


@pytest.fixture(scope="session")
def place(portrait: Image.Image) -> Callable[..., np.ndarray]:
    """Function: a grey (height, width, 3) canvas with the portrait on it for every (x, y, face width, angle)."""

    def paste(height: int, width: int, *spots: tuple[int, int, int, float]) -> np.ndarray:
        noise = np.random.default_rng(0).integers(96, 112, (height, width, 3)).astype(np.uint8)
        canvas = Image.fromarray(noise)
        for x, y, face, angle in spots:
            size = (round(portrait.width * face / 95), round(portrait.height * face / 95))
            piece = portrait.resize(size, Image.Resampling.LANCZOS).convert("RGBA")
            piece = piece.rotate(angle, expand=True, resample=Image.Resampling.BICUBIC)
            canvas.paste(piece, (x - piece.width // 2, y - piece.height // 2), piece)
        return np.array(canvas)

    return paste


@pytest.fixture(scope="session")
def detector() -> FaceDetector:
    return FaceDetector.load()


@pytest.fixture(scope="session")
def mesh_network() -> MeshNetwork:
    return MeshNetwork.load()


@pytest.fixture(scope="session")
def topology() -> Topology:
    return Topology.load()


@pytest.fixture(scope="session")
def reader() -> FaceReader:
    """The whole reader. Its region parser is an embedded weight: without it these tests fail, and should."""
    return FaceReader.load()


@pytest.fixture(scope="session")
def face(reader: FaceReader, astronaut: np.ndarray) -> Face:
    """The astronaut's face, read once."""
    (found,) = reader.read(astronaut)
    return found


@pytest.fixture(scope="session")
def mirrored(reader: FaceReader, astronaut: np.ndarray) -> Face:
    """The face of the mirrored photo."""
    (found,) = reader.read(np.ascontiguousarray(astronaut[:, ::-1]))
    return found
