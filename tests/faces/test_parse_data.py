"""Labelled faces: sides set straight, one transformation for picture and map, the losses' definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from limner.errors import InputError
from limner.faces.parse_data import IGNORE, augment, find_pairs, read_pair, straighten
from limner.faces.parse_task import confusion, figures, reduce, region_losses, split_pairs
from limner.faces.picture import save_picture, save_png
from limner.faces.regions import PALETTE, Region, colourise, flip


def drawn_face(size: int = 512) -> np.ndarray:
    """A region map with everything that has sides, the subject's left on the picture's right."""
    ids = np.zeros((size, size), np.uint8)
    y, x = np.mgrid[:size, :size] / size
    ids[(x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.09] = Region.SKIN
    for region, cx, cy in (
        (Region.LEFT_EYE, 0.6, 0.45), (Region.RIGHT_EYE, 0.4, 0.45), (Region.LEFT_BROW, 0.6, 0.38),
        (Region.RIGHT_BROW, 0.4, 0.38), (Region.LEFT_EAR, 0.8, 0.5), (Region.LOWER_LIP, 0.5, 0.62),
    ):  # fmt: skip
        ids[(np.abs(x - cx) < 0.05) & (np.abs(y - cy) < 0.02)] = region
    return ids


def test_a_mirrored_photograph_gets_its_sides_back() -> None:
    ids = drawn_face()
    np.testing.assert_array_equal(straighten(ids), ids)
    np.testing.assert_array_equal(straighten(ids[:, ::-1]), flip(ids))


def test_picture_and_map_move_together() -> None:
    """The picture is the map in colours; after augmentation its colours still say the region."""
    ids = drawn_face()
    agree = []
    for seed in range(12):
        picture, moved = augment(colourise(ids), ids, np.random.default_rng(seed))
        assert picture.shape == (256, 256, 3) and moved.shape == (256, 256) and picture.dtype == np.uint8
        assert set(np.unique(moved)) <= {*np.unique(ids).tolist(), *np.unique(flip(ids)).tolist(), IGNORE}
        skin = picture[moved == Region.SKIN].astype(float).mean(0)
        others = picture[moved == Region.BACKGROUND].astype(float).mean(0)
        agree.append(np.linalg.norm(skin - PALETTE[Region.SKIN]) < np.linalg.norm(others - PALETTE[Region.SKIN]))
    assert sum(agree) >= 11
    one, again = (augment(colourise(ids), ids, np.random.default_rng(5))[0] for _ in range(2))
    np.testing.assert_array_equal(one, again)


def test_pairs_are_found_and_split_by_name(tmp_path: Path) -> None:
    ids = drawn_face(64)
    for name in "edcba":
        save_picture(tmp_path / f"{name}.webp", colourise(ids))
        save_png(tmp_path / f"{name}.png", ids)
    split = split_pairs(tmp_path, validation=1, test=2)
    assert ["".join(photo.stem for photo, _ in split[part]) for part in ("train", "validation", "test")] == [
        "ab",
        "c",
        "de",
    ]
    picture, regions = reduce(*read_pair(*split["test"][0]))
    assert picture.shape == (256, 256, 3)
    assert (regions == reduce(colourise(ids), ids)[1]).all()
    with pytest.raises(InputError, match="no labelled faces"):
        find_pairs(tmp_path / "nowhere")


def test_a_map_of_another_size_is_refused(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.webp", np.zeros((32, 32, 3), np.uint8))
    save_png(tmp_path / "a.png", drawn_face(64))
    with pytest.raises(InputError, match="not of the size"):
        read_pair(*find_pairs(tmp_path)[0])


def test_the_losses_are_their_definitions() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 19, 8, 8, generator=generator, requires_grad=True)
    ids = torch.randint(0, 5, (2, 8, 8), generator=generator)
    ids[0, 0] = IGNORE
    weights = torch.rand(19, generator=generator) + 0.5
    entropy, dice = region_losses(logits, ids, weights)
    torch.testing.assert_close(entropy, F.cross_entropy(logits, ids, weights, ignore_index=IGNORE))
    known, shares = ids != IGNORE, logits.softmax(1)
    scores = []
    for k in range(5):
        truth, share = (ids == k)[known].float(), shares[:, k][known]
        scores.append(2 * (truth * share).sum() / (truth.sum() + share.sum()))
    torch.testing.assert_close(dice, 1 - torch.stack(scores).mean())


def test_figures_of_known_counts() -> None:
    truth = np.array([[0, 0, 1, 1, 13, IGNORE]])
    predicted = np.array([[0, 1, 1, 1, 0, 7]])
    measured = figures(confusion(predicted, truth))
    assert measured["pixel_accuracy"] == pytest.approx(3 / 5)
    assert measured["f1.background"] == pytest.approx(2 * 1 / (2 + 2))
    assert measured["f1.skin"] == pytest.approx(2 * 2 / (2 + 3))
    assert measured["f1.hair"] == 0
    assert measured["mean_f1"] == pytest.approx((0.5 + 0.8 + 0) / 3)
