"""Labelled faces for training the parser, and what is done to them so that it meets everything once.

A pair is a photograph and a region map of the same size and stem.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from limner.errors import InputError
from limner.faces.geometry import warp
from limner.faces.picture import encode_jpeg, is_picture_name, read_picture, read_region_map
from limner.faces.regions import SIDES, Region, flip

SIZE = 256
IGNORE = 255  # pixels beyond the photograph: no label, no loss


def find_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """(photograph, map) pairs in name order: `NAME.webp|jpg|…` with `NAME.png`. InputError when there are none."""
    pairs = []
    for photo in sorted(folder.glob("*")) if folder.is_dir() else []:
        if is_picture_name(photo) and photo.suffix != ".png" and photo.with_suffix(".png").is_file():
            pairs.append((photo, photo.with_suffix(".png")))
    if not pairs:
        raise InputError(f"no labelled faces in {folder}: it needs photographs NAME.webp or .jpg beside maps NAME.png")
    return pairs


def read_pair(photo: Path, regions: Path) -> tuple[np.ndarray, np.ndarray]:
    """Photograph (H, W, 3) uint8 and region map (H, W) uint8, left and right set straight."""
    picture, ids = read_picture(photo), read_region_map(regions)
    if ids.shape != picture.shape[:2]:
        raise InputError(f"{regions} is not of the size of {photo.name}: {ids.shape} against {picture.shape[:2]}")
    return picture, straighten(ids)


def straighten(ids: np.ndarray) -> np.ndarray:
    """Swap the sides of a map whose left eye or brow lies left of the right one (id map in, id map out).

    Some public copies of CelebAMask-HQ hold mirrored photographs whose labels were not swapped along.
    """
    votes = 0.0
    for left, right in SIDES[:2]:
        xs_left, xs_right = np.nonzero(ids == left)[1], np.nonzero(ids == right)[1]
        if len(xs_left) and len(xs_right):
            votes += np.sign(xs_left.mean() - xs_right.mean())
    return flip(ids)[:, ::-1] if votes < 0 else ids


def mirror(ids: np.ndarray) -> np.ndarray:
    """`flip` for maps that hold IGNORE."""
    known = ids != IGNORE
    return np.where(known[:, ::-1], flip(np.where(known, ids, 0).astype(np.uint8)), np.uint8(IGNORE))


def augment(picture: np.ndarray, ids: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One hard variant: (256, 256, 3) uint8 and (256, 256) uint8 with IGNORE beyond the photograph.

    Scale, rotation, shift, mirror, then colour, then occlusion, then what bad cameras do.
    """
    if random.random() < 0.5:
        picture, ids = picture[:, ::-1], mirror(ids)
    side = picture.shape[0]
    scale = SIZE / side * np.exp(random.uniform(np.log(0.55), np.log(1.4)))
    angle = np.deg2rad(random.normal(0, 15))
    stretch = np.exp(random.normal(0, 0.06))
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = linear * [stretch, 1 / stretch]
    shift = SIZE / 2 + random.normal(0, 0.06 * SIZE, 2) - linear @ np.array([side / 2, side / 2])
    matrix = np.column_stack([linear, shift])
    border = "reflect" if random.random() < 0.5 else int(random.integers(256))
    picture = warp(np.ascontiguousarray(picture), matrix, SIZE, border=border)
    ids = warp(np.ascontiguousarray(ids), matrix, SIZE, nearest=True, border=IGNORE)
    picture = _colour(picture, random)
    if random.random() < 0.35:
        picture, ids = _occlude(picture, ids, random)
    return _degrade(picture, random), ids


def _colour(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    x = picture.astype(np.float32) / 255
    x = x ** np.exp(random.normal(0, 0.25))  # gamma
    x = x * np.exp(random.normal(0, 0.12, 3)).astype(np.float32)  # white balance and exposure
    grey = x.mean(2, keepdims=True)
    saturation = 0.0 if random.random() < 0.08 else random.uniform(0.5, 1.5)
    x = grey + (x - grey) * saturation
    x = x.mean() + (x - x.mean()) * random.uniform(0.7, 1.3)
    if random.random() < 0.3:  # light from one side
        ramp = np.linspace(-1, 1, SIZE, dtype=np.float32) * random.uniform(-0.4, 0.4)
        x = x * (1 + (ramp[None, :, None] if random.random() < 0.7 else ramp[:, None, None]))
    return (x.clip(0, 1) * 255).round().astype(np.uint8)


def _occlude(picture: np.ndarray, ids: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Something in front, labelled background: an ellipse or bar of noise, flat colour or a piece of the picture."""
    centre, radii = random.uniform(0, SIZE, 2), random.uniform(8, 45, 2)
    turn = random.uniform(0, np.pi)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    u = (x - centre[0]) * np.cos(turn) + (y - centre[1]) * np.sin(turn)
    v = (y - centre[1]) * np.cos(turn) - (x - centre[0]) * np.sin(turn)
    power = 2 if random.random() < 0.5 else 8
    inside = np.abs(u / radii[0]) ** power + np.abs(v / radii[1]) ** power < 1
    kind = random.integers(3)
    if kind == 0:
        filling = np.broadcast_to(random.integers(0, 256, 3).astype(np.uint8), picture.shape)
    elif kind == 1:
        coarse = random.integers(0, 256, (int(random.integers(2, 12)),) * 2 + (3,)).astype(np.uint8)
        filling = np.asarray(Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    else:
        corner = picture[:48, :48] if random.random() < 0.5 else picture[:48, -48:]
        filling = np.asarray(
            Image.fromarray(np.ascontiguousarray(corner)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        )
    return np.where(inside[..., None], filling, picture), np.where(inside, np.uint8(Region.BACKGROUND), ids)


def _degrade(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    if random.random() < 0.3:  # low resolution
        small = int(random.integers(40, 160))
        image = Image.fromarray(picture).resize((small, small), Image.Resampling.BILINEAR)
        picture = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    if random.random() < 0.3:
        noise = random.normal(0, random.uniform(2, 14), picture.shape)
        picture = (picture + noise).clip(0, 255).astype(np.uint8)
    if random.random() < 0.3:
        picture = read_picture(encode_jpeg(picture, quality=int(random.integers(25, 90))))
    return picture
