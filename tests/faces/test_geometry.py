from __future__ import annotations

import numpy as np
import pytest

from limner.faces import geometry as G


def smooth_picture(height: int = 300, width: int = 400) -> np.ndarray:
    y, x = np.mgrid[:height, :width] + 0.5
    waves = [np.sin(x / 17 + y / 31), np.cos(x / 23 - y / 13), np.sin(x / 41)]
    return (127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)


def test_identity_changes_nothing():
    image = smooth_picture()
    matrix = np.array([[1.0, 0, 0], [0, 1, 0]])
    assert (G.warp(image, matrix, (400, 300)) == image).all()
    assert (G.warp(image[..., 0], matrix, (400, 300), nearest=True) == image[..., 0]).all()


def test_shrinking_is_free_of_aliasing():
    """A fine chequerboard turns grey; sampling it would give black or white."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    small = G.warp(board, np.array([[0.2, 0, 0], [0, 0.2, 0]]), 51)
    assert np.abs(small[2:-2, 2:-2].astype(int) - 127).max() < 12
    turned = G.warp(board, G.square_roi(np.array([128, 128]), 128, 30, 32), 32)
    assert np.abs(turned.astype(int) - 127).max() < 12


def test_points_and_pixels_move_together():
    image = np.zeros((200, 200), np.uint8)
    image[120:125, 60:65] = 255  # centre (62.5, 122.5)
    for matrix in (
        G.square_roi(np.array([80.0, 110.0]), 90, 25, 256),
        G.square_roi(np.array([80.0, 110.0]), 150, -70, 96),
    ):
        crop = G.warp(image, matrix, 256 if G.scale_of(matrix) > 1 else 96).astype(float)
        y, x = np.mgrid[: crop.shape[0], : crop.shape[1]] + 0.5
        centre = np.array([(x * crop).sum(), (y * crop).sum()]) / crop.sum()
        assert np.abs(centre - G.transform_points(np.array([62.5, 122.5]), matrix)).max() < 0.1


def test_invert_and_compose():
    a, b = G.square_roi(np.array([3.0, 4]), 7, 33, 64), G.square_roi(np.array([-5.0, 1]), 90, -120, 17)
    points = np.random.default_rng(0).normal(size=(9, 2)) * 50
    assert np.allclose(G.transform_points(G.transform_points(points, a), G.invert(a)), points)
    twice = G.transform_points(G.transform_points(points, a), b)
    assert np.allclose(G.transform_points(points, G.compose(b, a)), twice)


def test_warp_and_paste_back_restore_the_photo():
    image = smooth_picture()
    matrix = G.square_roi(np.array([200.0, 150.0]), 160, 20, 256)
    crop = G.warp(image, matrix, 256)
    canvas = np.zeros_like(image)
    pasted = G.paste_back(crop, matrix, canvas)
    assert (canvas == 0).all()
    ones, nothing = np.ones((256, 256), np.uint8), np.zeros(image.shape[:2], np.uint8)
    inside = G.paste_back(ones, matrix, nothing, nearest=True) == 1
    assert abs(inside.sum() - 160**2) < 160
    assert np.abs(pasted[inside].astype(int) - image[inside]).mean() < 1.0
    assert (pasted[~inside] == 0).all()


def test_nearest_invents_no_values():
    ids = np.random.default_rng(0).choice([0, 7, 13], (64, 64)).astype(np.uint8)
    turned = G.warp(ids, G.square_roi(np.array([10.0, 10.0]), 100, 45, 200), 200, nearest=True, border=0)
    assert set(np.unique(turned)) <= {0, 7, 13}


@pytest.mark.parametrize("border", ["edge", "reflect", 9])
def test_borders_continue_a_flat_picture(border):
    image = np.full((20, 30, 3), 9, np.uint8)
    for side in (15, 300):
        assert (G.warp(image, G.square_roi(np.array([0.0, 0.0]), side, 10, 64), 64, border=border) == 9).all()


def test_reflection_mirrors_at_the_edge():
    image = smooth_picture(50, 50)
    shifted = G.warp(image, np.array([[1.0, 0, 20], [0, 1, 0]]), (50, 50))
    assert (shifted[:, :20] == image[:, 19::-1]).all() and (shifted[:, 20:] == image[:, :30]).all()


def test_similarity_recovers_a_motion_in_two_and_three_dimensions():
    rng = np.random.default_rng(0)
    for dimensions in (2, 3):
        points = rng.normal(size=(12, dimensions))
        turn, _ = np.linalg.qr(rng.normal(size=(dimensions, dimensions)))
        turn[:, 0] *= np.sign(np.linalg.det(turn))
        target = 2.5 * points @ turn.T + rng.normal(size=dimensions)
        found = G.similarity(points, target)
        assert np.allclose(points @ found[:, :-1].T + found[:, -1], target)


def canonical_five() -> np.ndarray:
    """Where FFHQ's alignment puts eyes and mouth when twice the eye distance decides the size."""
    return np.array([[96, 118], [160, 118], [128, 145], [108, 180], [148, 180]], float)


def test_alignment_undoes_turning_shifting_and_scaling():
    home = G.align_ffhq(canonical_five())
    expected = G.transform_points(canonical_five(), home)
    motion = G.square_roi(np.array([40.0, -7.0]), 71, 37, 900)
    moved = G.transform_points(canonical_five(), motion)
    assert np.allclose(G.transform_points(moved, G.align_ffhq(moved)), expected)
    assert np.allclose(G.align_ffhq(moved, 512), 2 * G.align_ffhq(moved))


def test_alignment_of_the_mirrored_photo_is_the_mirrored_alignment():
    points = G.transform_points(canonical_five(), G.square_roi(np.array([100.0, 90.0]), 200, 12, 300))
    mirrored = (points * [-1, 1] + [300, 0])[[1, 0, 2, 4, 3]]
    there = G.transform_points(points, G.align_ffhq(points))
    expected = (there * [-1, 1] + [256, 0])[[1, 0, 2, 4, 3]]
    assert np.allclose(G.transform_points(mirrored, G.align_ffhq(mirrored)), expected)


def test_alignment_refuses_what_it_cannot_use():
    with pytest.raises(ValueError, match="5 points or a mesh"):
        G.align_ffhq(np.zeros((68, 2)))
    with pytest.raises(ValueError, match="coincide"):
        G.align_ffhq(np.zeros((5, 2)))


def test_boxes():
    box = np.array([0, 0, 10, 10.0])
    assert G.overlap(box, np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]])) == pytest.approx([1, 1 / 3, 0])
    assert G.area(np.array([3, 3, 1, 9])) == 0
    assert (G.box_of(np.array([[1, 5, 9], [4, 2, 9.0]])) == [1, 2, 4, 5]).all()
