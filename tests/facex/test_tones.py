"""Black-and-white and sepia photos keep their tones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from limner.faces.picture import encode_jpeg, read_picture
from limner.models.facex.engine import FaceX
from limner.models.facex.plan import EditPlan
from limner.models.facex.tones import LUMA, toned, tones_of


def grey(photo: np.ndarray) -> np.ndarray:
    return np.repeat((photo @ LUMA).round().astype(np.uint8)[..., None], 3, 2)


def test_a_black_and_white_photo_stays_so(weights: Path, photo: np.ndarray) -> None:
    editor, before = FaceX.load(weights, precision="fp32"), grey(photo)
    for plan in (EditPlan.motion(smile=0.8), EditPlan.swap("source")):
        edited = editor.edit(before, plan, {"source": photo[:, ::-1]}, steps=1, guidance=1.0)
        for pixels in (np.asarray(edited.image), edited.marked()):
            assert (pixels == pixels[..., :1]).all()
        assert (np.asarray(edited.image) != before).any()


def test_tones_of_monochrome_photos(photo: np.ndarray) -> None:
    assert tones_of(photo) is None
    noisy = read_picture(encode_jpeg(grey(photo), quality=60))
    for plain in (
        grey(photo),
        noisy,
        (grey(photo) + np.random.default_rng(0).integers(0, 3, photo.shape)).clip(0, 255),
    ):
        tones = tones_of(plain.astype(np.uint8))
        assert tones is not None and (tones == tones[:, :1]).all()
    levels = np.arange(256)
    sepia = np.stack([levels, levels * 0.85, levels * 0.65], 1).astype(np.uint8)[grey(photo)[..., 0]]
    tones = tones_of(sepia)
    assert tones is not None
    painted = toned(photo, tones).astype(float)
    assert np.abs(painted[..., 2] - 0.65 * painted[..., 0]).max() < 4
