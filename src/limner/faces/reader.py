"""From a photo to its faces: every network and analyser in order.

A face is found, its mesh and irises measured in the photo, then it is cut out upright (256 x 256, aligned as FFHQ
is) and the rest is read off that one picture. Networks load when they are first needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch

from limner.errors import InputError, WeightsError
from limner.faces import geometry
from limner.faces.attributes import measure
from limner.faces.demographics import Demographics, DemographicsNetwork
from limner.faces.detect import Detection, FaceDetector, check_min_score
from limner.faces.emotion import EmotionNet
from limner.faces.evidence import SIZE, Evidence
from limner.faces.expression import EXPRESSION_NAMES, expression_of
from limner.faces.identity import IdentityEncoder
from limner.faces.image_tensors import to_model
from limner.faces.landmarks import IrisNetwork, MeshNetwork
from limner.faces.light import light_on
from limner.faces.motion import gaze_direction, head_pose
from limner.faces.parse import RegionParser
from limner.faces.picture import Source, read_picture
from limner.faces.record import Attribute, Face, Pose, ReadResult
from limner.faces.topology import Topology
from limner.faces.traits import TraitHeads
from limner.settings import check_numbers

PRESENT = 0.5  # mesh score under which a detection is no face
SAME_FACE = 0.5  # overlap of boxes from which two meshes are one face
WITHIN = 0.75  # share of the smaller box within the larger one, likewise: part of a face taken for another face
IDENTITY = 128  # numbers of an identity vector
WHOLE = np.array([[1.0, 0, 0], [0, 1, 0]])
BATCH = 8  # photos whose faces are described together
OnError = Literal["raise", "yield"]
# The square, in shares of an aligned picture, in which the mesh network is first asked for the face.
ALIGNED_FACE = (0.19, 0.25, 0.81, 0.87)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A face before anything is read off its aligned picture. crop: (2, 3), photo to aligned picture."""

    score: float
    mesh: np.ndarray
    irises: np.ndarray
    crop: np.ndarray


class _People(NamedTuple):
    """What networks say of B aligned pictures."""

    identity: np.ndarray
    emotion: np.ndarray
    traits: list[dict[str, dict[str, float]]]
    demographics: Demographics


class _Waiting(NamedTuple):
    """A photo whose faces were found, cut out and not yet described. crops: (F, 256, 256, 3); size: of the photo."""

    photo: Source
    found: list[_Found]
    crops: np.ndarray
    size: tuple[int, int]
    error: InputError | None = None


class FaceReader:
    """Reads faces. Make one with `FaceReader.load`; use it from one thread at a time."""

    @classmethod
    def load(cls) -> FaceReader:
        """A reader on the embedded networks; each loads when it is first needed."""
        return cls()

    detector = cached_property(lambda self: FaceDetector.load())
    meshes = cached_property(lambda self: MeshNetwork.load())
    irises = cached_property(lambda self: IrisNetwork.load())
    topology = cached_property(lambda self: Topology.load())
    parser = cached_property(lambda self: RegionParser.load())
    identity = cached_property(lambda self: IdentityEncoder.load())
    emotion = cached_property(lambda self: EmotionNet.load())
    traits = cached_property(lambda self: TraitHeads.load())
    demographics = cached_property(lambda self: DemographicsNetwork.load())

    def read(self, photo: Source, min_score: float = 0.5, recognise: bool = True) -> list[Face]:
        """The faces in a photo, largest box first; [] when there is none.

        photo: path, encoded bytes, PIL image or (H, W, 3) uint8 RGB array. min_score: detections below it are dropped.
        recognise: False leaves out ``identity`` (not a number then) and ``attributes`` (empty then).
        Raises PictureError for what is not a picture and ValueError for a score outside 0..1.
        """
        picture = read_picture(photo)
        distinct = self._find(picture, min_score)
        if not distinct:
            return []
        sizes = [picture.shape[:2]] * len(distinct)
        faces = self._describe(_aligned(picture, distinct), distinct, sizes, recognise)
        return sorted(faces, key=lambda face: -face.area)

    def read_many(
        self,
        photos: Iterable[Source],
        min_score: float = 0.5,
        recognise: bool = True,
        batch_size: int = BATCH,
        on_error: OnError = "raise",
    ) -> Iterator[ReadResult]:
        """``read`` for any number of photos, one result each, in order; the faces of ``batch_size`` photos are
        described in one batch.

        on_error: ``raise`` stops at the first photo that cannot be used; ``yield`` puts the error in that photo's
        result and continues. Weights that are missing or damaged always raise.
        """
        check_min_score(min_score)
        check_numbers({"batch_size": batch_size}, {"batch_size": (1, 1024)}, {})
        if on_error not in ("raise", "yield"):
            raise InputError(f"on_error={on_error!r}: choose 'raise' or 'yield'")
        return self._read_many(photos, min_score, recognise, batch_size, on_error)

    def _read_many(
        self, photos: Iterable[Source], min_score: float, recognise: bool, batch_size: int, on_error: OnError
    ) -> Iterator[ReadResult]:
        waiting: list[_Waiting] = []

        def results() -> Iterator[ReadResult]:
            found = [each for one in waiting for each in one.found]
            sizes = [one.size for one in waiting for _ in one.found]
            faces: list[Face] = []
            if found:
                faces = self._describe(np.concatenate([one.crops for one in waiting]), found, sizes, recognise)
            for one in waiting:
                own, faces = faces[: len(one.found)], faces[len(one.found) :]
                yield ReadResult(one.photo, sorted(own, key=lambda face: -face.area), one.error)
            waiting.clear()

        for photo in photos:
            try:
                picture = read_picture(photo)
                found = self._find(picture, min_score)
            except WeightsError:
                raise
            except InputError as error:
                if on_error == "raise":
                    yield from results()  # the photos before it were read
                    raise
                waiting.append(_Waiting(photo, [], np.empty((0, SIZE, SIZE, 3), np.uint8), (0, 0), error))
            else:
                # Keeps the aligned faces and not the photo: a batch of large photos would not fit into memory.
                waiting.append(_Waiting(photo, found, _aligned(picture, found), picture.shape[:2]))
            if len(waiting) == batch_size:
                yield from results()
        yield from results()

    def align(self, photo: Source, min_score: float = 0.5, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
        """The faces in a photo cut out aligned, (F, size, size, 3) uint8, and their boxes (F, 4) XYXY in the photo.

        Largest box first, as `read`; nothing else is read off them. Raises as `read` does.
        """
        picture = read_picture(photo)
        found = self._find(picture, min_score)
        boxes = np.array([_box(each.mesh, picture.shape[:2]) for each in found], np.float32).reshape(-1, 4)
        order = np.argsort(-(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), kind="stable")
        return _aligned(picture, [found[k] for k in order], size), boxes[order]

    def read_crops(self, pictures: np.ndarray, recognise: bool = True) -> list[Face | None]:
        """Read pictures that are aligned already, (B, 256, 256, 3) uint8, as `geometry.align_ffhq` leaves them.

        One entry a picture, in order; None where no face is found. Boxes and points are in the picture given, `crop` is
        the identity. recognise: as for `read`.
        """
        if pictures.ndim != 4 or pictures.shape[1:] != (SIZE, SIZE, 3) or pictures.dtype != np.uint8:
            raise ValueError(
                f"aligned pictures are (B, {SIZE}, {SIZE}, 3) uint8, not {pictures.shape} {pictures.dtype}"
            )
        box = np.array(ALIGNED_FACE) * SIZE
        found: list[_Found | None] = []
        for picture in pictures:
            mesh = self.meshes.find(picture, box, 0.0)
            if mesh.score < PRESENT:
                found.append(None)
                continue
            irises = self.irises.find(picture, mesh.points)
            found.append(_Found(score=mesh.score, mesh=mesh.points, irises=irises, crop=WHOLE))
        chosen = [index for index, each in enumerate(found) if each is not None]
        faces: list[Face | None] = [None] * len(pictures)
        if chosen:
            described = self._describe(
                pictures[chosen], [each for each in found if each is not None], [(SIZE, SIZE)] * len(chosen), recognise
            )
            for index, face in zip(chosen, described):
                faces[index] = face
        return faces

    def _find(self, picture: np.ndarray, min_score: float) -> list[_Found]:
        found = [self._locate(picture, detection) for detection in self.detector.detect(picture, min_score)]
        return _distinct([each for each in found if each is not None])

    def _locate(self, picture: np.ndarray, detection: Detection) -> _Found | None:
        mesh = self.meshes.find(picture, detection.box, detection.angle)
        if mesh.score < PRESENT:
            return None
        irises = self.irises.find(picture, mesh.points)
        crop = geometry.align_ffhq(mesh.points, SIZE)
        return _Found(score=detection.score, mesh=mesh.points, irises=irises, crop=crop)

    def _describe(
        self, crops: np.ndarray, found: Sequence[_Found], sizes: Sequence[tuple[int, int]], recognise: bool = True
    ) -> list[Face]:
        """Faces from their aligned pictures (B, 256, 256, 3); sizes: height and width of each one's photo."""
        regions = self.parser.parse(crops).ids
        people = self._recognise(crops) if recognise else None
        faces = []
        for index, (each, size) in enumerate(zip(found, sizes, strict=True)):
            mesh = geometry.transform_points(each.mesh, each.crop)
            irises = geometry.transform_points(each.irises, each.crop)
            pose = head_pose(mesh, self.topology)
            gaze = gaze_direction(mesh, irises, pose)
            expression = expression_of(mesh, pose, gaze, self.topology)
            light = light_on(crops[index], mesh, regions[index], self.topology)
            in_photo = head_pose(each.mesh.astype(np.float64), self.topology)
            attributes: dict[str, Attribute] = {}
            if people is not None:
                evidence = Evidence(
                    picture=crops[index],
                    inside=_inside(each.crop, size),
                    regions=regions[index],
                    mesh=mesh,
                    irises=irises,
                    pose=pose,
                    photo_roll=in_photo.roll,
                    gaze=gaze,
                    expression=dict(zip(EXPRESSION_NAMES, expression.tolist(), strict=True)),
                    emotion=people.emotion[index],
                    age=float(people.demographics.age[index]),
                    age_spread=float(people.demographics.age_spread[index]),
                    woman=float(people.demographics.woman[index]),
                    light=light,
                    scores=people.traits[index],
                    enlarged=geometry.scale_of(each.crop),
                    topology=self.topology,
                )
                attributes = measure(evidence)
            faces.append(
                Face(
                    box=_box(each.mesh, size),
                    score=each.score,
                    landmarks=each.mesh,
                    irises=each.irises,
                    pose=Pose(in_photo.yaw, in_photo.pitch, in_photo.roll),
                    gaze=gaze,
                    expression=expression,
                    light=light,
                    regions=_regions_in_photo(regions[index], each.crop, size),
                    crop=each.crop,
                    identity=np.full(IDENTITY, np.nan, np.float32) if people is None else people.identity[index],
                    attributes=attributes,
                )
            )
        return faces

    def _recognise(self, crops: np.ndarray) -> _People:
        """What the networks that recognise people say of aligned pictures, (B, 256, 256, 3)."""
        tensor = to_model(crops)
        with torch.inference_mode():
            identity, emotion = self.identity(tensor).numpy(), self.emotion(tensor).numpy()
        return _People(identity, emotion, self.traits(tensor), self.demographics(crops))


def _aligned(picture: np.ndarray, found: list[_Found], size: int = SIZE) -> np.ndarray:
    """Every face of a photo cut out upright: (F, size, size, 3) uint8."""
    crops = [geometry.warp(picture, each.crop * (size / SIZE), size, border="edge") for each in found]
    return np.stack(crops) if crops else np.empty((0, size, size, 3), np.uint8)


def _inside(crop: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Where an aligned picture shows the photo rather than its continued border, (256, 256) bool."""
    height, width = size
    corners = geometry.transform_points(np.array([[0, 0], [SIZE, 0], [0, SIZE], [SIZE, SIZE]]), geometry.invert(crop))
    if (corners >= 0).all() and (corners <= [width, height]).all():
        return np.ones((SIZE, SIZE), bool)
    grid = np.stack(np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5), -1)
    places = geometry.transform_points(grid, geometry.invert(crop))
    return np.all((places >= 0) & (places <= [width, height]), axis=-1, keepdims=False)


def _regions_in_photo(regions: np.ndarray, crop: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The region map (H, W) at the photo's size; background outside the aligned picture."""
    if crop is WHOLE:
        return regions
    return geometry.paste_back(regions, crop, np.zeros(size, np.uint8), nearest=True)


def _box(mesh: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """XYXY box (4,) float32 around a mesh, within the photo of this height and width."""
    box = geometry.box_of(mesh)
    return np.clip(box, 0, [size[1], size[0], size[1], size[0]]).astype(np.float32)


def _distinct(found: list[_Found]) -> list[_Found]:
    """The surest of those whose meshes lie on each other."""
    kept: list[_Found] = []
    for each in sorted(found, key=lambda found: -found.score):
        box = geometry.box_of(each.mesh)
        boxes = [geometry.box_of(other.mesh) for other in kept]
        if all(geometry.overlap(box, other) < SAME_FACE and _within(box, other) < WITHIN for other in boxes):
            kept.append(each)
    return kept


def _within(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the smaller of two boxes that lies in the other one."""
    shared = np.concatenate([np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])])
    return float(geometry.area(shared) / max(min(geometry.area(one), geometry.area(other)), 1e-9))
