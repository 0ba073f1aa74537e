"""Faces cut out aligned without reading anything else off them."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from limner.faces.geometry import warp
from limner.faces.picture import read_picture
from limner.faces.reader import FaceReader


def test_aligned_faces_are_those_that_reading_aligns() -> None:
    names = ("face-10015.jpg", "face-10016.jpg")
    photo = np.concatenate([read_picture((files("limner.demo") / "photographs" / n).read_bytes()) for n in names], 1)
    reader = FaceReader.load()
    pictures, boxes = reader.align(photo)
    faces = reader.read(photo)
    assert pictures.shape == (2, 256, 256, 3) and len(faces) == 2
    for picture, box, face in zip(pictures, boxes, faces):
        assert np.array_equal(box, face.box)
        assert np.array_equal(picture, warp(photo, face.crop, 256, border="edge"))
    large, _ = reader.align(photo, size=512)
    assert large.shape == (2, 512, 512, 3)
    assert np.abs(large[:, ::2, ::2].astype(int) - pictures).mean() < 6, "the same square"
    none, no_boxes = reader.align(np.full((64, 64, 3), 128, np.uint8))
    assert none.shape == (0, 256, 256, 3) and no_boxes.shape == (0, 4)
