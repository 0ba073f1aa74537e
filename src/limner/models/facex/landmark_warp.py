"""Landmark warping: pictures warped by meshes, and the inside of a mouth that opens.

Legend: S side of a picture, P points of a mesh.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch.nn import functional as F

from limner.faces.landmarks import EYE_OPENINGS, INNER_LIPS, LIDS
from limner.faces.motion import head_pose
from limner.faces.topology import Topology

GRID = 128
"""Side of the grid on which warps are computed."""
FINER = 4
"""Parts that a cell of it is cut into along each side to draw an outline."""
ALONG = 0.8
"""Centimetres around an iris' middle that go along with it: the iris and a rim that keeps it round."""
LIDS_STAY, LID = 0.5, 0.1
"""How much of an iris' way up or down its lids do not go along, and the centimetres over which that changes."""
NEARER = 0.03
"""Share of a face's width by which a triangle lies before a point that it hides."""
ANCHORS = 8
"""Points along each side of a picture that stay where they are."""
SOFT = (0.04, 0.012)
"""Shares of a side over which shifts blend into each other: widely, then what that leaves over at the points."""


CLOSED = 0.25
"""Centimetres between the lips up to which a mouth shows nothing of its inside (a neutral mesh has as much)."""
DARK = (56, 26, 24)
"""What is inside a mouth of which no photo shows the inside."""
EDGE = 0.006
"""Share of a side over which a mouth's inside is blended in."""


class Points(NamedTuple):
    """What warps follow: a mesh (P, 3) and the middles of its irises (2, 2), right eye first, all in pixels."""

    mesh: np.ndarray
    irises: np.ndarray


def pull(picture: np.ndarray, source: Points, target: Points, topology: Topology) -> np.ndarray:
    """A picture (S, S, C) uint8 with the points of ``source`` brought to those of ``target`` that can be seen.

    Between points and beyond them the shift is their mean weighed by distance⁻⁴ (Shepard 1968), in two levels; the
    picture's border stays, and irises go where they are wanted, taking their neighbourhood along. Our choice over
    triangles: because eyes, mouth and hair have none.
    """
    side, seen = picture.shape[0], visible(target.mesh, topology)
    edge = (np.arange(ANCHORS) + 0.5) * side / ANCHORS
    ends = np.concatenate([np.stack([edge, np.full(ANCHORS, end)], 1) for end in (0, side)])
    ends = np.concatenate([ends, ends[:, ::-1]])
    points = np.concatenate([target.mesh[seen, :2], ends])
    shifts = np.concatenate([(source.mesh - target.mesh)[seen, :2], np.zeros_like(ends)])
    levels: list[np.ndarray] = []  # what each level moves the points by, (points, 2)

    def shift(places: np.ndarray) -> np.ndarray:
        """(N, 2) to (N, 2): by the levels there are."""
        apart, moved = (torch.from_numpy(each).float() for each in (places, points))
        squared = torch.cdist(apart, moved, compute_mode="donot_use_mm_for_euclid_dist").square_()  # (N, points)
        total = np.zeros((len(places), 2))
        for soft, level in zip(SOFT, levels):
            weights = (squared + (soft * side) ** 2).square_().reciprocal_()
            ahead = weights @ torch.from_numpy(np.column_stack([level, np.ones(len(level))])).float()
            total += (ahead[:, :2] / ahead[:, 2:]).double().numpy()
        return total

    for _ in SOFT:
        levels.append(shifts - shift(points))
    at = (np.arange(GRID) + 0.5) * side / GRID
    places = np.stack(np.meshgrid(at, at), -1).reshape(-1, 2)
    field = shift(places)
    scale = head_pose(target.mesh, topology).scale
    for eye, (before, after) in enumerate(zip(source.irises, target.irises, strict=True)):
        shares = _going_along(places, after, target.mesh[list(EYE_OPENINGS[eye]), :2], scale, side)
        wide = [np.linalg.norm(np.subtract(*each.mesh[list(LIDS[eye]), :2])) for each in (source, target)]
        shares *= min(wide[1] / max(wide[0], 1e-6), 1) ** 2  # as eyes close, their lids decide
        field += shares * (before - after - shift(after[None])[0])
    return _sampled(picture, field.reshape(GRID, GRID, 2))


def _going_along(places: np.ndarray, iris: np.ndarray, opening: np.ndarray, scale: float, side: int) -> np.ndarray:
    """How much of an iris' way places (GRID², 2) go along, across and down: (GRID², 2) in 0..1.

    opening: (N, 2), the lids' outline. scale: pixels a centimetre. side: S.
    """
    cells = GRID / side
    near = 1 / (1 + (np.linalg.norm(places - iris, axis=1) / (ALONG * scale)) ** 6)
    area = Image.new("L", (GRID * FINER, GRID * FINER))
    ImageDraw.Draw(area).polygon([tuple(point * cells * FINER) for point in opening], fill=255)
    soft = area.filter(ImageFilter.GaussianBlur(LID * scale * cells * FINER)).resize((GRID, GRID), Image.Resampling.BOX)
    between = np.asarray(soft, np.float64).reshape(-1) / 255
    return np.stack([near, near * (1 - LIDS_STAY * (1 - between))], 1)


def visible(mesh: np.ndarray, topology: Topology) -> np.ndarray:
    """Which points of a mesh (P, 3) can be seen, (P,) bool: they face the camera, and no triangle lies before them."""
    facing = topology.normals(mesh)[:, 2] < 0
    a, b, c = (mesh[topology.triangles[:, k]] for k in range(3))  # (T, 3) each
    one, two = b - a, c - a
    area = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    size = np.where(area == 0, np.inf, area)
    here = np.flatnonzero(facing)
    apart = mesh[here, None] - a  # (p, T, 3)
    u = (apart[..., 0] * two[:, 1] - apart[..., 1] * two[:, 0]) / size
    v = (one[:, 0] * apart[..., 1] - one[:, 1] * apart[..., 0]) / size
    inside = (u > 0) & (v > 0) & (u + v < 1) & (topology.triangles != here[:, None, None]).all(-1)
    nearer = apart[..., 2] - u * one[:, 2] - v * two[:, 2] > NEARER * np.ptp(mesh[:, 0])
    facing[here[(inside & nearer).any(1)]] = False
    return facing


def _sampled(picture: np.ndarray, field: np.ndarray) -> np.ndarray:
    """A picture (S, S, C) uint8 looked up where a field (GRID, GRID, 2) of shifts, in pixels, says."""
    side = picture.shape[0]
    smooth = F.interpolate(
        torch.from_numpy(field).permute(2, 0, 1)[None].float(), size=(side, side), mode="bilinear", align_corners=False
    )[0]
    middles = torch.arange(side) + 0.5
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    grid = (torch.stack([x + smooth[0], y + smooth[1]], -1) / side * 2 - 1)[None]
    pulled = F.grid_sample(
        torch.from_numpy(picture).permute(2, 0, 1)[None].float(), grid, padding_mode="border", align_corners=False
    )
    return pulled[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()


def opening(mesh: np.ndarray, topology: Topology) -> float:
    """Centimetres between the lips of a mesh (P, 3)."""
    return float(np.linalg.norm(mesh[13] - mesh[14]) / head_pose(mesh, topology).scale)


def fill_mouth(picture: np.ndarray, mesh: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """A picture (S, S, 3) uint8 with what lies between the lips of a mesh (P, 3) taken from another, (S, S, 3) or
    (3,)."""
    side = len(picture)
    area = Image.new("L", (side, side))
    ImageDraw.Draw(area).polygon([tuple(point) for point in mesh[list(INNER_LIPS), :2]], fill=255)
    share = np.asarray(area.filter(ImageFilter.GaussianBlur(EDGE * side)), np.float32)[..., None] / 255
    return (picture + share * (inside.astype(np.float32) - picture)).round().astype(np.uint8)
