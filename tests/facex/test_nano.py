"""The weights that come with Limner, on the demo's photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import limner
from limner.faces.picture import read_picture

PEOPLE = Path(limner.__file__).parent / "demo" / "photographs"


def test_shipped_weights_move_a_face_as_the_driver_does() -> None:
    model = limner.load("nano")
    photo, driver = (PEOPLE / f"face-{number}.jpg" for number in (10016, 10018))
    made = model.reenact(photo, driver, steps=10, seed=0)
    before, aim, after = (model.read(picture)[0].pose.yaw for picture in (photo, driver, np.asarray(made.image)))
    assert abs(before - aim) > 30 and abs(after - aim) < 6


def test_shipped_weights_leave_what_they_do_not_paint() -> None:
    model = limner.load("nano")
    photo = PEOPLE / "face-10018.jpg"
    made = np.asarray(model.swap(PEOPLE / "face-10015.jpg", photo, steps=4, seed=0).image)
    same = (made == read_picture(photo)).all(2)
    assert 0.3 < same.mean() < 0.95 and same[0].all() and same[:, 0].all()
