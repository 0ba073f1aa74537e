"""The init of a drawn hole: the mirrored other half of the face, and the surroundings where that is hidden too.

Our choice, not the paper's: faces are nearly symmetric, and a small model fails at details such as an eye that matches
the other one, which the mirrored half shows.

Legend: S side of a portrait, P points of a mesh.
"""

from __future__ import annotations

import numpy as np
import torch

from limner.faces.regions import Region
from limner.faces.topology import Topology

from .detail_transfer import smoothed
from .landmark_warp import Points, pull
from .occlusion_fill import smoothed_over
from .plan import EditPlan
from .portrait import Portrait
from .warped_init import WarpedInit, points_of

SHARE = 0.4
"""How much of the way from noise to picture is still painted (``WarpedInit.share``)."""
BEYOND = (Region.BACKGROUND, Region.CLOTH)
"""What is not alike on both sides."""
NEAR = 0.02
"""Share of a side over which halves are compared."""
ALIKE = 20.0
"""Of 255: how much halves may differ until the other one counts for exp(-1) of what is filled in."""
SHOWN = 250
"""Of 255: what a pixel between hidden and shown ones has to have of the latter."""


def draw_mirror_init(plan: EditPlan, seen: Portrait, hole: np.ndarray, topology: Topology) -> WarpedInit | None:
    """The init of a hole; None where a prompt or another photo defines its content, or no face is visible.

    seen, hole (S, S) bool: the photo as far as it may be known, and what of it is not (``unseen.visible_rest``)."""
    if plan.prompt or plan.factors or plan.sliders or plan.repaint or seen.mesh is None:
        return None
    return WarpedInit(filled(seen, hole, seen.mesh, topology), SHARE, np.zeros(hole.shape, bool))


def filled(seen: Portrait, hole: np.ndarray, mesh: np.ndarray, topology: Topology) -> np.ndarray:
    """A picture (S, S, 3) uint8 with its hole (S, S) bool, which is smoothed over, filled from the mirrored face as far
    as the two halves are alike around it."""
    picture, irises = seen.picture, points_of(seen, topology).irises
    shown = ~hole & ~np.isin(seen.regions, BEYOND)
    mirrored = np.dstack([picture, np.uint8(255) * shown])[:, ::-1].copy()
    across = mesh[topology.mirror] * [-1, 1, 1] + [len(picture), 0, 0]
    over = irises[::-1] * [-1, 1] + [len(picture), 0]
    pulled = pull(mirrored, Points(across, over), Points(mesh, irises), topology)
    other, there = pulled[..., :3].astype(np.int16), pulled[..., 3] > SHOWN
    both = shown & there
    apart = (picture - other).clip(-127, 127) + 127  # how the halves are lit differently, in 8 bits
    lit = (other + smoothed_over(apart.astype(np.uint8), ~both) - 127).clip(0, 255)
    coarse = mean_nearby(np.abs(lit - picture).mean(-1, keepdims=True), both, round(NEAR * len(picture)))
    unlike = smoothed_over(coarse.clip(0, 255).astype(np.uint8), ~both)
    trust = np.exp(-((unlike / ALIKE) ** 2)) * there[..., None]
    return np.where(hole[..., None], picture + trust * (lit - picture), picture).round().astype(np.uint8)


def mean_nearby(values: np.ndarray, known: np.ndarray, radius: int) -> np.ndarray:
    """The mean around every pixel (S, S, C) of those that are known, (S, S) bool; 0 where none is."""
    inside = torch.from_numpy(known)[None, None].float()
    sums = smoothed(torch.from_numpy(values).permute(2, 0, 1)[None].float() * inside, radius)
    return (sums / smoothed(inside, radius).clamp_min(1e-3))[0].permute(1, 2, 0).numpy()
