"""The points of a face: 468 of a mesh (Kartynnik et al. 2019) and two irises (Ablavatski et al. 2020).

Both networks look at a turned square cut out of the photo: the mesh at the face, 1.5 times as wide as its box, a
second time around the points first found; the iris network at each eye, the left one mirrored, because it knows
right eyes only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from limner.faces import geometry
from limner.faces.tflite import TfliteNetwork

POINTS = 468
FACE_MARGIN = 1.5  # square around a face, in sides of its box (MediaPipe's face_landmark graph)
EYE_MARGIN = 2.3  # square around an eye, in distances of its corners (MediaPipe's iris_landmark graph)
SURE = 10.0  # logit of a face that stands upright in its square: 99 % of portraits reach it, upside-down looks do not
HOPELESS = -2.0  # logit below which a second look is wasted
PASSES = 5  # looks at most
STILL = 8.0  # degrees; a face that stands less askew needs no further look
RIGHT_EYE_CORNERS = (33, 133)  # outer, inner; the subject's right
LEFT_EYE_CORNERS = (263, 362)
EYE_OPENINGS = (  # outlines between the lids, right eye first
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
)
EYE_FOLDS = (  # of the upper and the lower lid, seven points each from corner to corner as in EYE_OPENINGS
    ((247, 30, 29, 27, 28, 56, 190), (112, 26, 22, 23, 24, 110, 25)),
    ((467, 260, 259, 257, 258, 286, 414), (341, 256, 252, 253, 254, 339, 255)),
)
OUTLINE_CORNERS = [0, 8]  # outer and inner, among the points that the iris network draws around an eye
LIDS = ((159, 145), (386, 374))  # middles of the upper and the lower lid, right eye first
# Around what an open mouth shows, from one corner along the upper lip to the other and back along the lower one.
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """A face's points.

    points: (468, 3) float32; x y in pixels of the photo, z in the same unit, growing away from the camera, about 0
    at the middle of the face. logit: how surely an upright face stands in the square looked at; score is the same as
    0..1.
    """

    points: np.ndarray
    logit: float

    @property
    def score(self) -> float:
        return float(1 / (1 + np.exp(-np.clip(self.logit, -50, 50))))


class MeshNetwork:
    """Finds the mesh of a face whose place is roughly known."""

    def __init__(self, network: TfliteNetwork) -> None:
        self._network = network

    @classmethod
    def load(cls, source: str = "face-mesh") -> MeshNetwork:
        """The network from the registry, or a folder with mesh.tflite."""
        return cls(TfliteNetwork.load(source, "mesh.tflite"))

    def find(self, photo: np.ndarray, box: np.ndarray, angle: float) -> Mesh:
        """The mesh of the face in an XYXY box (4,), turned by `angle` degrees clockwise, of a photo (H, W, 3) uint8."""
        centre, side = (box[:2] + box[2:]) / 2, FACE_MARGIN * float(max(box[2:] - box[:2]))
        best = self._settle(photo, geometry.square_roi(centre, side, angle, self._network.width))
        if best.logit < SURE:
            for turn in (90, 180, 270):
                other = self._settle(photo, geometry.square_roi(centre, side, angle + turn, self._network.width))
                best = max(best, other, key=lambda mesh: mesh.logit)
        return best

    def _settle(self, photo: np.ndarray, matrix: np.ndarray) -> Mesh:
        """Look, look again around what was seen, and on while the face stands askew in its square."""
        mesh = self._look(photo, matrix)
        for _ in range(PASSES - 1):
            if mesh.logit < HOPELESS:
                break
            angle = roll_of(mesh.points)
            again = self._look(photo, self._around(mesh.points))
            if again.logit < min(mesh.logit, SURE):
                break
            mesh = again
            if abs((roll_of(mesh.points) - angle + 180) % 360 - 180) < STILL:
                break
        return mesh

    def _around(self, points: np.ndarray) -> np.ndarray:
        """Matrix to the upright square around a mesh."""
        angle = roll_of(points)
        turn = geometry.square_roi(np.zeros(2), 1, angle, 1)[:, :2]
        box = geometry.box_of(points[:, :2] @ turn.T)
        centre = turn.T @ ((box[:2] + box[2:]) / 2)
        return geometry.square_roi(centre, FACE_MARGIN * float(max(box[2:] - box[:2])), angle, self._network.width)

    def _look(self, photo: np.ndarray, matrix: np.ndarray) -> Mesh:
        crop = geometry.warp(photo, matrix, self._network.width, border=0)
        points, logit = self._network(crop[None].astype(np.float32) / 255)
        points = geometry.transform_points(points.reshape(POINTS, 3), geometry.invert(matrix))
        return Mesh(points=points.astype(np.float32), logit=float(logit.item()))


class IrisNetwork:
    """Finds the irises of a face whose mesh is known."""

    def __init__(self, network: TfliteNetwork) -> None:
        self._network = network

    @classmethod
    def load(cls, source: str = "iris") -> IrisNetwork:
        """The network from the registry, or the file iris.tflite."""
        return cls(TfliteNetwork.load(source, "iris.tflite"))

    def find(self, photo: np.ndarray, mesh: np.ndarray) -> np.ndarray:
        """Irises (2, 5, 2) float32, right eye first: centre, then four points of the outline, pixels of the photo."""
        return self.find_eyes(photo, mesh)[0]

    def find_eyes(self, photo: np.ndarray, mesh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The irises and, as the same network sees them, the outer and inner corners of the eyes, (2, 2, 2) float32."""
        eyes = [self._find_one(photo, mesh[list(RIGHT_EYE_CORNERS), :2], mirrored=False)]
        eyes.append(self._find_one(photo, mesh[list(LEFT_EYE_CORNERS), :2], mirrored=True))
        points = np.stack(eyes).astype(np.float32)
        return points[:, :5], points[:, 5:]

    def _find_one(self, photo: np.ndarray, corners: np.ndarray, mirrored: bool) -> np.ndarray:
        """Five points of an iris and two corners, (7, 2). corners: (2, 2), outer and inner, as the mesh has them."""
        size = self._network.width
        across = (corners[0] - corners[1]) if mirrored else (corners[1] - corners[0])
        angle, length = float(np.degrees(np.arctan2(across[1], across[0]))), float(np.hypot(*across))
        matrix = geometry.square_roi(corners.mean(0), EYE_MARGIN * max(length, 1.0), angle, size)
        if mirrored:
            matrix = geometry.compose(np.array([[-1.0, 0, size], [0, 1, 0]]), matrix)
        crop = geometry.warp(photo, matrix, size, border="edge")
        outline, iris = self._network(crop[None].astype(np.float32) / 255)
        points = np.concatenate([iris.reshape(5, 3), outline.reshape(-1, 3)[OUTLINE_CORNERS]])
        return geometry.transform_points(points[:, :2], geometry.invert(matrix))


def roll_of(points: np.ndarray) -> float:
    """Roll in degrees, positive clockwise, from the outer corners of the eyes of a mesh."""
    across = points[LEFT_EYE_CORNERS[0], :2] - points[RIGHT_EYE_CORNERS[0], :2]
    return float(np.degrees(np.arctan2(across[1], across[0])))
