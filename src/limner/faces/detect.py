"""Where the faces are: BlazeFace (Bazarevsky et al. 2019) over a pyramid of windows.

Two networks share the work. The full-range one sees faces from about 10 to 130 of its 192 pixels; the short-range
one, faces that fill most of the frame. So the whole photo is looked at by both, and windows of it by the full-range
one, small enough that a face of 40 pixels in the photo is 10 in the network. Where nothing is found the photo is
turned and looked at again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from limner.faces import geometry
from limner.faces.tflite import TfliteNetwork
from limner.settings import check_numbers

SMALLEST_FACE = 40  # pixels of the photo
SMALLEST_SEEN = 13  # pixels of the full-range network's input: measured, even turned faces are seen from there on
WINDOW_OVERLAP = 0.25  # share of a window's side: a face cut by one window is whole in its neighbour or the next level
WINDOW_STEP = 4  # ratio of window sides from one level to the next; the network's own range is 1 : 13
LEAST_SCORE = 0.1  # below it everything looks like a face
LEAST_CONTRAST = 12  # grey values between a window's darkest and brightest number: less is sky or a wall
SAME_FACE = 0.3  # overlap from which two boxes are one face, as in MediaPipe's graph
ZOOM_OUT = 1.6  # for a photo that is nothing but face, a second look with a margin around it


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One face found.

    box: (4,) XYXY pixels. score: 0..1. points: (6, 2) pixels: right eye, left eye, nose tip, mouth, right ear, left
    ear.
    """

    box: np.ndarray
    score: float
    points: np.ndarray

    @property
    def angle(self) -> float:
        """Roll in degrees, positive clockwise: the direction from the right to the left eye."""
        across = self.points[1] - self.points[0]
        return float(np.degrees(np.arctan2(across[1], across[0])))


def check_min_score(min_score: float) -> None:
    """``InputError`` unless it is a number that ``detect`` takes."""
    check_numbers({"min_score": min_score}, {}, {"min_score": (LEAST_SCORE, 1)})


class FaceDetector:
    """Finds faces in photos of any size."""

    def __init__(self, short_range: TfliteNetwork, full_range: TfliteNetwork) -> None:
        self._short, self._full = short_range, full_range
        # One anchor a cell centre: two at stride 8 and six at stride 16 for the short range, one at stride 4 for the
        # full.
        self._anchors = {
            short_range: np.concatenate([_cell_centres(16, 2), _cell_centres(8, 6)]),
            full_range: _cell_centres(48, 1),
        }

    @classmethod
    def load(cls, source: str = "face-detector") -> FaceDetector:
        """Networks from the registry, or a folder with short_range.tflite and full_range.tflite."""
        return cls(TfliteNetwork.load(source, "short_range.tflite"), TfliteNetwork.load(source, "full_range.tflite"))

    def detect(self, photo: np.ndarray, min_score: float = 0.5) -> list[Detection]:
        """Faces of a photo (H, W, 3) uint8 with a score of at least `min_score`, the surest first.

        Upright faces, and faces turned by up to about 60 degrees, are found at once. Then the photo is turned by a
        quarter, three quarters and a half: as a whole when it has shown a face, in windows too when it has not. Nothing
        found at all, it is looked at with a margin around it.
        """
        check_min_score(min_score)
        height, width = photo.shape[:2]
        # no network sees more than this, and turning a big photo whole would cost most of the time
        small = _shrunk(photo, SMALLEST_SEEN / SMALLEST_FACE) if max(height, width) > self._first_window else photo
        found = self._look(small, (height, width), min_score, windows=True)
        upright = bool(found)
        for quarter in (1, 2, 3):
            size = (width, height) if quarter % 2 else (height, width)
            turned = self._look(np.ascontiguousarray(np.rot90(small, quarter)), size, min_score, windows=not upright)
            found += [_turn_back(detection, quarter, height, width) for detection in turned]
        if not found:
            found = merge(self._scan(self._short, photo, ZOOM_OUT * max(width, height), min_score))
        kept: list[Detection] = []
        for detection in sorted(found, key=lambda detection: -detection.score):  # a face is surest where it is upright
            if not any(_same(detection.box, other.box) for other in kept):
                kept.append(detection)
        return kept

    @property
    def _first_window(self) -> float:
        """Side, in pixels of the photo, of the smallest windows."""
        return self._full.width * SMALLEST_FACE / SMALLEST_SEEN

    def _look(self, shrunk: np.ndarray, size: tuple[int, int], min_score: float, windows: bool) -> list[Detection]:
        """Detections in a shrunk photo of (height, width) `size`, and in windows of it when asked, merged."""
        side, window = float(max(size)), self._first_window
        sides = [side]
        while windows and window < side:
            sides.append(window)
            window *= WINDOW_STEP
        ratio = np.array(shrunk.shape[1::-1]) / size[::-1]
        found = self._scan(self._short, shrunk, side * ratio[0], min_score)
        for window in sides:
            found += self._scan(self._full, shrunk, window * ratio[0], min_score)
        return merge([_moved(detection, np.zeros(2), 1 / ratio) for detection in found])

    def _scan(self, network: TfliteNetwork, photo: np.ndarray, side: float, min_score: float) -> list[Detection]:
        """Detections in overlapping square windows of this side, not yet merged, in pixels of the photo."""
        size = network.width
        level = _shrunk(photo, size / side)
        height, width = level.shape[:2]
        ratio = np.array([width, height]) / photo.shape[1::-1]
        found: list[Detection] = []
        for top in _window_starts(height, size):
            for left in _window_starts(width, size):
                start = np.array([left, top])
                window = _cut(level, left, top, size)
                seen = self._see(network, window, min_score) if np.ptp(window) >= LEAST_CONTRAST else []
                whole = [each for each in seen if _is_whole(each.box + np.tile(start, 2), start, size, width, height)]
                found += [_moved(each, start, 1 / ratio) for each in whole]
        return found

    def _see(self, network: TfliteNetwork, window: np.ndarray, min_score: float) -> list[Detection]:
        """Detections in one picture of the network's own size, in its pixels."""
        regressors, logits = network(window[None].astype(np.float32) / 127.5 - 1)
        scores = 1 / (1 + np.exp(-np.clip(logits[0, :, 0], -50, 50)))
        chosen = np.flatnonzero(scores >= min_score)
        anchors = self._anchors[network][chosen] * network.width  # (N, 2)
        values = regressors[0, chosen].reshape(-1, 8, 2)  # centre, size, six points
        centres, halves = values[:, 0] + anchors, values[:, 1] / 2
        boxes, points = np.concatenate([centres - halves, centres + halves], 1), values[:, 2:] + anchors[:, None]
        return [
            Detection(box=box, score=float(score), points=places)
            for box, score, places in zip(boxes, scores[chosen], points)
        ]


def merge(detections: list[Detection]) -> list[Detection]:
    """Blend detections of one face, weighted by score, as BlazeFace does; the surest first.

    A box that lies mostly inside a surer one is the same face too: part of it, seen through a smaller window.
    """
    rest = sorted(detections, key=lambda detection: -detection.score)
    faces: list[Detection] = []
    while rest:
        boxes = np.stack([detection.box for detection in rest])
        same = geometry.overlap(boxes[0], boxes) > SAME_FACE
        same[0] = True
        group = [detection for detection, chosen in zip(rest, same) if chosen]
        weights = np.array([detection.score for detection in group])
        weights /= weights.sum()
        box = weights @ np.stack([detection.box for detection in group])
        points = np.einsum("n,nij->ij", weights, np.stack([detection.points for detection in group]))
        faces.append(Detection(box=box, score=group[0].score, points=points))
        rest = [detection for detection, chosen in zip(rest, same) if not chosen]
    kept: list[Detection] = []
    for face in faces:
        if not any(_same(face.box, other.box) for other in kept):
            kept.append(face)
    return kept


def _same(box: np.ndarray, other: np.ndarray) -> bool:
    """Whether two boxes must belong to one face."""
    return bool(geometry.overlap(box, other) > SAME_FACE) or _inside(box, other) > 0.6


def _inside(box: np.ndarray, other: np.ndarray) -> float:
    """Share of the smaller of two boxes that lies in the larger."""
    shared = np.concatenate([np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])])
    return float(geometry.area(shared) / max(min(geometry.area(box), geometry.area(other)), 1e-9))


def _cell_centres(cells: int, times: int) -> np.ndarray:
    """Centres (cells * cells * times, 2) of a square grid in [0, 1], row by row, each repeated."""
    y, x = np.mgrid[:cells, :cells]
    return np.repeat((np.stack([x, y], -1).reshape(-1, 2) + 0.5) / cells, times, 0)


def _shrunk(photo: np.ndarray, scale: float) -> np.ndarray:
    """The photo resized by about this scale, to whole pixels."""
    height, width = (max(round(length * scale), 1) for length in photo.shape[:2])
    return photo if (height, width) == photo.shape[:2] else geometry.resize(photo, (width, height))


def _window_starts(length: int, size: int) -> list[int]:
    """Where overlapping windows of `size` begin so that they cover `length`; one centred window if it holds all."""
    if length <= size:
        return [-((size - length) // 2)]
    count = int(np.ceil((length - size) / (size * (1 - WINDOW_OVERLAP)))) + 1
    return [round(start) for start in np.linspace(0, length - size, count)]


def _cut(level: np.ndarray, left: int, top: int, size: int) -> np.ndarray:
    """The square window that begins at (left, top), black outside the picture."""
    window = np.zeros((size, size, 3), np.uint8)
    part = level[max(top, 0) : top + size, max(left, 0) : left + size]
    down, right = max(-top, 0), max(-left, 0)
    window[down : down + part.shape[0], right : right + part.shape[1]] = part
    return window


def _is_whole(box: np.ndarray, start: np.ndarray, size: int, width: int, height: int) -> bool:
    """Whether a box stays inside its window, apart from the sides where the picture ends too."""
    low, high = start, start + size
    return bool(
        (low[0] <= 0 or box[0] >= low[0])
        and (low[1] <= 0 or box[1] >= low[1])
        and (high[0] >= width or box[2] <= high[0])
        and (high[1] >= height or box[3] <= high[1])
    )


def _moved(detection: Detection, shift: np.ndarray, ratio: np.ndarray) -> Detection:
    """The detection after shifting, then scaling each axis."""
    box = ((detection.box.reshape(2, 2) + shift) * ratio).ravel()
    return Detection(box=box, score=detection.score, points=(detection.points + shift) * ratio)


def _turn_back(detection: Detection, quarter: int, height: int, width: int) -> Detection:
    """Take a detection in `np.rot90(photo, quarter)` to the photo of this height and width."""
    x, y = detection.points[:, 0], detection.points[:, 1]
    left, top, right, bottom = detection.box
    if quarter == 1:  # counterclockwise: the photo's right edge is on top
        points, box = np.stack([width - y, x], 1), np.array([width - bottom, left, width - top, right])
    elif quarter == 2:
        points, box = (
            np.stack([width - x, height - y], 1),
            np.array([width, height, width, height]) - detection.box[[2, 3, 0, 1]],
        )
    else:
        points, box = np.stack([y, height - x], 1), np.array([top, height - right, bottom, height - left])
    return Detection(box=box, score=detection.score, points=points)
