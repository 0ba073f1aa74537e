"""Styles: drawings of photographs."""

from __future__ import annotations

import numpy as np

from limner.faces.styles import pencil


def test_pencil_draws_edges_on_paper() -> None:
    picture = np.full((64, 64, 3), (60, 140, 200), np.uint8)
    picture[:, 32:] = (180, 60, 40)  # another colour, darker in grey
    drawn = pencil(picture)
    assert drawn.shape == picture.shape and drawn.dtype == np.uint8
    grey = drawn.mean(2)
    flat, edge = grey[:, [4, 60]].mean(), grey[:, 28:36].min()
    assert flat > 190 and edge < 0.9 * flat
    assert (drawn[..., 0] >= drawn[..., 2]).all() and np.ptp(drawn.astype(int), 2).max() < 15  # paper, not the colours
