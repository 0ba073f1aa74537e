from __future__ import annotations

import numpy as np
import pytest

from limner.faces import geometry as G
from limner.faces.landmarks import IrisNetwork


@pytest.fixture(scope="module")
def mesh(detector, mesh_network, astronaut):
    best = detector.detect(astronaut)[0]
    return mesh_network.find(astronaut, best.box, best.angle)


def test_points_are_where_they_belong(mesh):
    points = mesh.points
    assert points.shape == (468, 3) and mesh.score > 0.99
    assert points[33, 0] < points[133, 0] < points[4, 0] < points[362, 0] < points[263, 0]  # right to left eye corners
    assert points[10, 1] < points[168, 1] < points[4, 1] < points[13, 1] < points[152, 1]  # forehead to chin
    assert points[4, 2] < points[234, 2] and points[4, 2] < points[454, 2]  # the nose is nearest


def test_mirrored_photo_gives_mirrored_points(detector, mesh_network, astronaut, mesh, topology):
    flipped = np.ascontiguousarray(astronaut[:, ::-1])
    best = detector.detect(flipped)[0]
    points = mesh_network.find(flipped, best.box, best.angle).points
    back = (points * [-1, 1, 1] + [512, 0, 0])[topology.mirror]
    assert np.abs(back - mesh.points)[:, :2].mean() < 1.5


def test_points_follow_scale_and_shift(mesh_network, astronaut, mesh):
    box = G.box_of(mesh.points)
    large = np.array(G.resize(astronaut, (1024, 1024)))
    points = mesh_network.find(large, box * 2, 0).points
    assert np.abs(points / 2 - mesh.points).mean() < 1.0


def test_a_rough_box_settles_on_the_same_points(mesh_network, astronaut, mesh):
    box = G.box_of(mesh.points)
    for change, angle in (([-15, -10, 5, 12], 0), ([10, 10, 10, 10], 20), ([0, 0, 0, 0], 180)):
        again = mesh_network.find(astronaut, box + change, angle)
        assert np.abs(again.points - mesh.points)[:, :2].mean() < 3


def test_no_face_no_score(mesh_network):
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert mesh_network.find(grey, np.array([50, 50, 150, 150.0]), 0).score < 0.1


def test_irises_lie_in_the_eyes(astronaut, mesh):
    irises = IrisNetwork.load().find(astronaut, mesh.points)
    assert irises.shape == (2, 5, 2)
    for iris, (outer, inner) in zip(irises, ((33, 133), (263, 362))):
        corners = mesh.points[[outer, inner], :2]
        width = np.linalg.norm(corners[0] - corners[1])
        assert np.linalg.norm(iris[0] - corners.mean(0)) < 0.3 * width
        radius = np.linalg.norm(iris[1:] - iris[0], axis=1)
        assert 0.1 * width < radius.mean() < 0.35 * width
