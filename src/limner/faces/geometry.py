"""Every warp, crop, box and paste-back, once.

Coordinates are continuous: pixel (column j, row i) covers [j, j+1) x [i, i+1) and its centre is (j + 0.5, i + 0.5), so
scaling a picture by s scales its points by s and nothing else. A matrix is (2, 3) float64 and takes points of the photo
to points of the crop. Boxes are XYXY. Angles are degrees, positive clockwise in the picture.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

Border = Literal["reflect", "edge"] | int

# Mesh points that stand for the six dlib points of each eye, and the corners of the mouth. Sides are the subject's.
RIGHT_EYE_OUTLINE = (33, 160, 158, 133, 153, 144)
LEFT_EYE_OUTLINE = (362, 385, 387, 263, 373, 380)
MOUTH_CORNERS = (61, 291)  # right, left
NOSE_TIP = 4


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Right eye, left eye, nose tip, right and left mouth corner (the subject's sides) of a mesh.

    landmarks: (468 or more, 2 or 3). Returns (5, 2) float64.
    """
    points = np.asarray(landmarks, np.float64)[:, :2]
    right, left = points[list(RIGHT_EYE_OUTLINE)].mean(0), points[list(LEFT_EYE_OUTLINE)].mean(0)
    return np.stack([right, left, points[NOSE_TIP], points[MOUTH_CORNERS[0]], points[MOUTH_CORNERS[1]]])


def align_ffhq(landmarks: np.ndarray, size: int = 256) -> np.ndarray:
    """Matrix from photo to the aligned square crop of FFHQ (`recreate_aligned_images` of Karras et al. 2019).

    landmarks: mesh (468 or more, 2 or 3), or five points (5, 2) as `five_points` gives them. size: side in pixels.
    Returns (2, 3). Raises ValueError for other shapes and for points that all coincide.
    """
    points = np.asarray(landmarks, np.float64)
    if points.ndim != 2 or points.shape[1] not in (2, 3) or (len(points) != 5 and len(points) < 468):
        raise ValueError(f"alignment needs 5 points or a mesh of at least 468, not an array of shape {points.shape}")
    right, left, _, mouth_right, mouth_left = five_points(points) if len(points) > 5 else points[:, :2]
    eye_to_eye = left - right
    eye_to_mouth = (mouth_right + mouth_left) / 2 - (right + left) / 2
    across = eye_to_eye + eye_to_mouth[::-1] * [1, -1]  # along the eyes, and square to the nose
    length = np.hypot(*across)
    if length < 1e-6:
        raise ValueError("alignment needs points that do not coincide")
    across *= max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8) / length  # half a side of the crop
    down = across[::-1] * [-1, 1]
    centre = (right + left) / 2 + eye_to_mouth * 0.1
    return invert(np.stack([across * 2 / size, down * 2 / size, centre - across - down], 1))


def square_roi(centre: np.ndarray, side: float, angle: float, size: int) -> np.ndarray:
    """Matrix from photo to a (size, size) crop of the square with this centre, side and clockwise angle in degrees."""
    turn, scale = np.deg2rad(angle), size / side
    linear = scale * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.column_stack([linear, size / 2 - linear @ np.asarray(centre, np.float64)])


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotation, uniform scale and shift that best take points to points (least squares, Umeyama 1991, no mirroring).

    source, target: (N, D) with N > 1. Returns (D, D + 1).
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    centre_s, centre_t = source.mean(0), target.mean(0)
    s, t = source - centre_s, target - centre_t
    u, values, vt = np.linalg.svd(t.T @ s)
    sign = np.ones(len(values))
    sign[-1] = np.sign(np.linalg.det(u @ vt))
    linear = (values * sign).sum() / (s**2).sum() * (u * sign) @ vt
    return np.column_stack([linear, centre_t - linear @ centre_s])


def invert(matrix: np.ndarray) -> np.ndarray:
    """Inverse of an affine (2, 3) matrix, (2, 3) again."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix that applies `first`, then `second`."""
    return np.column_stack([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]])


def transform_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply a (2, 3) matrix to points (..., 2), or (..., 3) whose depth is scaled alike. Returns the shape given."""
    points = np.asarray(points, np.float64)
    moved = points[..., :2] @ matrix[:, :2].T + matrix[:, 2]
    if points.shape[-1] == 2:
        return moved
    return np.concatenate([moved, points[..., 2:] * scale_of(matrix)], -1)


def scale_of(matrix: np.ndarray) -> float:
    """How many pixels of the crop one pixel of the photo becomes along a side."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def warp(
    image: np.ndarray,
    matrix: np.ndarray,
    size: int | tuple[int, int],
    nearest: bool = False,
    border: Border = "reflect",
) -> np.ndarray:
    """Resample a picture through an affine matrix, without aliasing when it shrinks.

    image: (H, W) or (H, W, 3) uint8. matrix: (2, 3), photo to crop. size: side of a square crop, or (width, height).
    nearest: for region maps, no mixing of values. border: what lies outside the photo: its reflection, its edge, or a
    grey level. Returns (height, width[, 3]) uint8. Shrinking resizes with an antialiasing bicubic filter first, then
    turns at scale 1 (our choice: right at any factor, and fast).
    """
    width, height = (size, size) if isinstance(size, int) else size
    inverse = invert(np.asarray(matrix, np.float64))
    scale = scale_of(matrix)
    margin = 2 if nearest else 3 + 3 / min(scale, 1.0)  # the reach of the filters, in pixels of the photo
    corners = transform_points(np.array([[0, 0], [width, 0], [0, height], [width, height]]), inverse)
    x0, y0 = np.floor(corners.min(0) - margin).astype(int)
    x1, y1 = np.ceil(corners.max(0) + margin).astype(int)
    part = Image.fromarray(_window(image, x0, y0, x1, y1, border))
    inverse[:, 2] -= x0, y0  # crop → window
    if scale < 1 and not nearest:
        shrunk = max(round(part.width * scale), 1), max(round(part.height * scale), 1)
        inverse = inverse * np.array([[shrunk[0] / part.width], [shrunk[1] / part.height]])
        part = part.resize(shrunk, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.array(_transform(part, inverse, (width, height), nearest))


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The whole picture (H, W[, 3]) uint8 at (width, height), antialiased where it shrinks."""
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))


def paste_back(crop: np.ndarray, matrix: np.ndarray, canvas: np.ndarray, nearest: bool = False) -> np.ndarray:
    """Put a crop back where `matrix` took it from.

    crop: (h, w[, 3]) uint8. matrix: (2, 3), photo to crop. canvas: (H, W[, 3]) uint8, not changed.
    Returns a new canvas; pixels whose centre lies outside the crop keep the canvas's value.
    """
    height, width = canvas.shape[:2]
    h, w = crop.shape[:2]
    inverse = invert(np.asarray(matrix, np.float64))
    corners = transform_points(np.array([[0, 0], [w, 0], [0, h], [w, h]]), inverse)
    x0, y0 = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(corners.max(0)).astype(int), [width, height])
    result = canvas.copy()
    if x1 <= x0 or y1 <= y0:
        return result
    into = inverse.copy()
    into[:, 2] -= x0, y0  # crop → the part of the photo that it covers
    inside = _transform(Image.new("L", (w, h), 255), invert(into), (x1 - x0, y1 - y0), nearest=True)
    part = Image.fromarray(result[y0:y1, x0:x1])
    part.paste(Image.fromarray(warp(crop, into, part.size, nearest=nearest, border="edge")), mask=inside)
    result[y0:y1, x0:x1] = np.asarray(part)
    return result


def box_of(points: np.ndarray) -> np.ndarray:
    """Smallest XYXY box (4,) around points (N, 2 or more)."""
    points = np.asarray(points, np.float64)[:, :2]
    return np.concatenate([points.min(0), points.max(0)])


def area(boxes: np.ndarray) -> np.ndarray:
    """Areas (...) of XYXY boxes (..., 4); 0 for boxes turned inside out."""
    boxes = np.asarray(boxes, np.float64)
    return np.clip(boxes[..., 2] - boxes[..., 0], 0, None) * np.clip(boxes[..., 3] - boxes[..., 1], 0, None)


def overlap(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Intersection over union (...) of boxes (..., 4) and (..., 4), broadcast against each other."""
    one, many = np.asarray(one, np.float64), np.asarray(many, np.float64)
    low, high = np.maximum(one[..., :2], many[..., :2]), np.minimum(one[..., 2:], many[..., 2:])
    shared = area(np.concatenate([low, high], -1))
    return shared / np.maximum(area(one) + area(many) - shared, 1e-9)


def _transform(image: Image.Image, inverse: np.ndarray, size: tuple[int, int], nearest: bool) -> Image.Image:
    """Sample an image at the places `inverse` (crop → image) sends the pixel centres of the crop; black outside it."""
    method = Image.Resampling.NEAREST if nearest else Image.Resampling.BICUBIC
    return image.transform(size, Image.Transform.AFFINE, tuple(inverse.ravel().tolist()), method)


def _window(image: np.ndarray, x0: int, y0: int, x1: int, y1: int, border: Border) -> np.ndarray:
    """The part [y0:y1, x0:x1] of a picture, continued beyond its edges as `border` says."""
    height, width = image.shape[:2]
    inside = image[_clamp(y0, height) : _clamp(y1, height), _clamp(x0, width) : _clamp(x1, width)]
    if inside.shape[:2] == (y1 - y0, x1 - x0):
        return np.ascontiguousarray(inside)
    if isinstance(border, int):
        window = np.full((y1 - y0, x1 - x0, *image.shape[2:]), border, image.dtype)
        if inside.size:
            top, left = max(-y0, 0), max(-x0, 0)
            window[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        return window
    rows, columns = _beyond(y0, y1, height, border), _beyond(x0, x1, width, border)
    return image.take(rows, 0).take(columns, 1)


def _clamp(value: int, limit: int) -> int:
    return min(max(value, 0), limit)


def _beyond(start: int, stop: int, length: int, border: Border) -> np.ndarray:
    """Indices start..stop brought into 0..length by reflection (the edge appears twice) or by clamping."""
    index = np.arange(start, stop)
    if border == "edge":
        return np.clip(index, 0, length - 1)
    index = np.mod(index, 2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)
