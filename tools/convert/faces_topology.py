"""Mesh topology and the average face → src/limner/weights/files/face-mesh/topology.safetensors.

    python tools/convert/faces_topology.py FOLDER mediapipe-0.10.21-*.whl
    python -m limner.weights.registry --refresh

FOLDER holds portraits, one face each, many of them frontal (ours: the first 2,000 synthetic faces). Their meshes,
brought on top of each other, averaged and made symmetric, are the canonical face: what pose is measured against. The
triangles are MediaPipe's tessellation (Apache-2.0, from the wheel). Tensors:

    canonical (468, 3) float32   x to the right of the picture, y down, z away from the camera; the eyes' centres are
    6.3 apart
                                 (centimetres, on average), the origin lies between them
    mirror    (468,) int16       the point on the other side of the face
    rigid     (468,) uint8       1 where expression and build move a point least: the half with the smallest spread
    triangles (852, 3) int16     clockwise as seen from the camera
"""

from __future__ import annotations

import ast
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch

from limner.faces import geometry
from limner.faces.detect import FaceDetector
from limner.faces.landmarks import SURE, MeshNetwork
from limner.faces.picture import PictureError, read_picture
from limner.weights.registry import EMBEDDED
from limner.weights.tensors import save_tensors

CONNECTIONS = "mediapipe/python/solutions/face_mesh_connections.py"
EYE_DISTANCE = 6.3


def meshes_of(folder: Path) -> np.ndarray:
    """Meshes (N, 468, 3) of the pictures in a folder that show one sure face."""
    detector, network = FaceDetector.load(), MeshNetwork.load()
    found = []
    for path in sorted(folder.iterdir()):
        try:
            photo = read_picture(path)
        except PictureError:
            continue
        for detection in detector.detect(photo)[:1]:
            mesh = network.find(photo, detection.box, detection.angle)
            if mesh.logit >= SURE:
                found.append(mesh.points.astype(np.float64))
    return np.stack(found)


def onto(points: np.ndarray, target: np.ndarray, use: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Points moved by the similarity that takes their subset `use` onto the target's."""
    matrix = geometry.similarity(points[use], target[use])
    return points @ matrix[:, :3].T + matrix[:, 3]


def average(meshes: np.ndarray) -> np.ndarray:
    """Median shape of frontal meshes, upright and facing the camera as they do on average."""
    across = (meshes[:, 4, 0] - meshes[:, 234, 0]) / (
        meshes[:, 454, 0] - meshes[:, 234, 0]
    )  # nose tip between the ears
    frontal = meshes[np.abs(across - 0.5) < 0.06]
    shape = frontal[0]
    for _ in range(10):
        shape = onto(np.median([onto(mesh, shape) for mesh in frontal], 0), shape)
    turns = [geometry.similarity(shape, mesh)[:, :3] for mesh in frontal]
    u, _, vt = np.linalg.svd(np.mean([turn / np.cbrt(np.linalg.det(turn)) for turn in turns], 0))
    return (shape - shape.mean(0)) @ (u @ vt).T


def mirror_pairs(shape: np.ndarray) -> np.ndarray:
    """For every point the index of the point on the other side."""
    mirrored = shape * [-1, 1, 1]
    for _ in range(20):
        pairs = ((mirrored[:, None] - shape[None]) ** 2).sum(-1).argmin(1)
        mirrored = onto(mirrored, shape[pairs])
    assert (pairs[pairs] == np.arange(len(shape))).all(), "the average face is not symmetric enough"
    return pairs


def triangles_in(wheel: str) -> np.ndarray:
    """The tessellation (852, 3), every three edges of MediaPipe's list being one triangle."""
    with zipfile.ZipFile(wheel) as archive:
        tree = ast.parse(archive.read(CONNECTIONS))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "FACEMESH_TESSELATION":
            assert isinstance(node.value, ast.Call)
            edges = ast.literal_eval(node.value.args[0])
            return np.array(edges)[:, 0].reshape(-1, 3)
    raise ValueError(f"{CONNECTIONS} has no FACEMESH_TESSELATION")


def main(folder: str, wheel: str) -> None:
    meshes = meshes_of(Path(folder))
    shape = average(meshes)
    mirror = mirror_pairs(shape)
    shape = (shape + onto(shape * [-1, 1, 1], shape[mirror])[mirror]) / 2
    shape[:, 0] -= shape[:, 0].mean()
    shape = (shape + shape[mirror] * [-1, 1, 1]) / 2
    eyes = geometry.five_points(shape)[:2]
    shape *= EYE_DISTANCE / np.hypot(*(eyes[1] - eyes[0]))
    shape -= np.mean(
        [shape[list(outline)].mean(0) for outline in (geometry.RIGHT_EYE_OUTLINE, geometry.LEFT_EYE_OUTLINE)], 0
    )

    rigid = np.arange(len(shape))
    for _ in range(5):  # the points that move least, once the face is fitted by the points that move least
        spread = np.median([np.linalg.norm(onto(m, shape, rigid) - shape, axis=1) for m in meshes[::4]], 0)
        rigid = np.flatnonzero(np.maximum(spread, spread[mirror]) <= np.median(np.maximum(spread, spread[mirror])))

    triangles = triangles_in(wheel)
    corners = shape[triangles]
    facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2]
    triangles[facing < 0] = triangles[facing < 0][:, ::-1]
    chosen = np.isin(np.arange(len(shape)), rigid)
    tensors = {
        "canonical": torch.tensor(shape, dtype=torch.float32),
        "mirror": torch.tensor(mirror, dtype=torch.int16),
        "rigid": torch.tensor(chosen, dtype=torch.uint8),
        "triangles": torch.tensor(triangles.copy(), dtype=torch.int16),
    }
    config = {
        "faces": len(meshes),
        "eye_distance": EYE_DISTANCE,
        "source": "average of frontal portraits, made symmetric",
    }
    save_tensors(EMBEDDED / "face-mesh" / "topology.safetensors", tensors, config)
    print(f"{len(meshes)} faces; {chosen.sum()} rigid points; {len(triangles)} triangles")


if __name__ == "__main__":
    main(*sys.argv[1:])
