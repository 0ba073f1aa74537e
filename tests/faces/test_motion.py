from __future__ import annotations

import numpy as np
import pytest

from limner.faces.expression import CENTRAL_RANGES, EXPRESSION_NAMES, SIDED_RANGES, expression_of
from limner.faces.light import harmonics, light_direction, light_on, linear
from limner.faces.motion import (
    EYEBALL_RADIUS,
    HeadPose,
    eye_corners,
    gaze_direction,
    head_pose,
    in_head_axes,
    iris_centres,
    rotation_of,
    turn,
)
from limner.faces.regions import Region

ANGLES = [(0, 0, 0), (30, 0, 0), (0, 20, 0), (0, 0, 15), (-50, -25, 40), (35, 10, -170)]


def posed(topology, yaw, pitch, roll, scale=12.0, centre=(200.0, 150.0, 0.0)) -> np.ndarray:
    """The average face, turned and put in a photo."""
    return topology.canonical @ rotation_of(yaw, pitch, roll).T * scale + np.array(centre)


@pytest.mark.parametrize(("yaw", "pitch", "roll"), ANGLES)
def test_pose_is_recovered(topology, yaw, pitch, roll):
    pose = head_pose(posed(topology, yaw, pitch, roll), topology)
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx((yaw, pitch, roll), abs=1e-6)
    assert pose.scale == pytest.approx(12.0)
    assert np.allclose(in_head_axes(posed(topology, yaw, pitch, roll), pose), topology.canonical)


def test_signs_of_the_angles(topology):
    """Yaw to the subject's left moves the nose right in the picture; pitch up moves it up; roll turns clockwise."""
    level = posed(topology, 0, 0, 0)
    assert posed(topology, 20, 0, 0)[4, 0] > level[4, 0]
    assert posed(topology, 0, 20, 0)[4, 1] < level[4, 1]
    leaning = posed(topology, 0, 0, 20)
    assert leaning[10, 0] > leaning[152, 0]  # the top of the head leans to the right of the picture


@pytest.mark.parametrize(("yaw", "pitch", "roll"), ANGLES)
def test_mirroring_turns_yaw_and_roll_round(topology, yaw, pitch, roll):
    mesh = posed(topology, yaw, pitch, roll)
    pose = head_pose((mesh * [-1, 1, 1])[topology.mirror], topology)
    assert pose.yaw == pytest.approx(-yaw, abs=0.1) and pose.pitch == pytest.approx(pitch, abs=0.1)
    assert (pose.roll + roll + 180) % 360 - 180 == pytest.approx(0, abs=0.1)


def test_topology_is_symmetric(topology):
    mirror = topology.mirror
    assert (mirror[mirror] == np.arange(468)).all()
    assert np.allclose(topology.canonical[mirror] * [-1, 1, 1], topology.canonical, atol=1e-5)
    assert set(topology.mirror[topology.rigid]) == set(topology.rigid)
    for right, left in ((33, 263), (61, 291), (105, 334), (4, 4), (152, 152)):
        assert mirror[right] == left
    assert topology.canonical[263, 0] > 0  # the subject's left is on the right of the picture


def test_normals_point_outward(topology):
    normals = topology.normals(topology.canonical)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1)
    assert normals[4, 2] < -0.9 and normals[454, 0] > 0.5 and normals[234, 0] < -0.5 and normals[152, 1] > 0


def looking(topology, yaw, pitch, shift) -> np.ndarray:
    """Gaze of the average face in this pose whose irises stand `shift` centimetres off their resting place."""
    mesh = posed(topology, yaw, pitch, 0)
    pose = head_pose(mesh, topology)
    from limner.faces.motion import CORNER_DEPTH, IRIS_RISE

    forward, down = pose.rotation @ [0, 0, -1.0], pose.rotation @ [0, 1.0, 0]
    irises = []
    for corners in ((33, 133), (263, 362)):
        ball = mesh[list(corners)].mean(0) - 12 * (CORNER_DEPTH * forward + IRIS_RISE * down)
        irises.append(np.tile(ball[:2] + 12 * np.array(shift), (5, 1)))
    return gaze_direction(mesh, np.stack(irises), pose)


def test_gaze_signs_and_size(topology):
    assert np.allclose(looking(topology, 0, 0, (0, 0)), 0, atol=1e-6)
    for yaw, pitch in ((0, 0), (25, 10)):
        sideways = looking(topology, yaw, pitch, (1.2 * np.sin(np.radians(20)), 0))
        assert sideways == pytest.approx([20, 0], abs=0.01)
        assert looking(topology, yaw, pitch, (0, -0.4))[1] == pytest.approx(19.47, abs=0.01)
    assert np.abs(looking(topology, 0, 0, (5, 0))).max() <= 60.01


def test_gaze_from_other_corners(topology):
    """Corners that lie lower by what makes a look of 20 degrees let irises that rest look 20 degrees further up."""
    mesh = posed(topology, 0, 0, 0)
    pose = head_pose(mesh, topology)
    irises = np.repeat(iris_centres(mesh, np.zeros(2), pose)[:, None], 5, 1)
    lower = eye_corners(mesh) + np.array([0, 12 * EYEBALL_RADIUS * np.sin(np.radians(20))])
    assert gaze_direction(mesh, irises, pose) == pytest.approx([0, 0], abs=1e-6)
    assert gaze_direction(mesh, irises, pose, eye_corners(mesh)) == pytest.approx([0, 0], abs=1e-6)
    assert gaze_direction(mesh, irises, pose, lower) == pytest.approx([0, 20], abs=1e-6)


def test_expression_of_the_average_face_is_quiet_and_symmetric(topology):
    pose = head_pose(topology.canonical, topology)
    values = dict(zip(EXPRESSION_NAMES, expression_of(topology.canonical, pose, np.zeros(2), topology), strict=True))
    assert len(values) == 2 * len(SIDED_RANGES) + len(CENTRAL_RANGES)
    for name in SIDED_RANGES:
        assert values[f"{name}_left"] == pytest.approx(values[f"{name}_right"], abs=1e-4)
    assert values["eye_blink_left"] < 0.3 and values["mouth_pucker"] < 0.3


@pytest.mark.parametrize(
    ("name", "points", "move"),
    [
        ("jaw_open", (14, 17, 152), (0, 2.0, 0)),
        ("mouth_smile_left", (291,), (0.6, -0.9, 0)),
        ("mouth_frown_right", (61,), (0, 1.2, 0)),
        ("eye_blink_left", (385, 386, 387), (0, 0.7, 0)),
        ("eye_wide_right", (158, 159, 160), (0, -0.35, 0)),
        ("brow_inner_up", (55, 107, 285, 336), (0, -0.9, 0)),
        ("brow_down_left", (285, 336), (0, 0.9, 0)),
        ("jaw_left", (152,), (0.6, 0, 0)),
        ("mouth_right", (13, 14), (-0.4, 0, 0)),
        ("mouth_pucker", (61, 291), None),
    ],
)
def test_moving_points_moves_their_coefficient(topology, name, points, move):
    """Each coefficient answers to its own movement, on its own side."""
    pose = HeadPose(rotation=np.eye(3), scale=1.0, centre=np.zeros(3))

    def value(shape: np.ndarray, which: str) -> float:
        return float(expression_of(shape, pose, np.zeros(2), topology)[EXPRESSION_NAMES.index(which)])

    moved = topology.canonical.copy()
    if move is None:  # the corners of the mouth come together
        moved[list(points), 0] *= 0.45
    else:
        moved[list(points)] += move
    assert value(moved, name) > value(topology.canonical, name) + 0.4
    for side, other in (("left", "right"), ("right", "left")):
        if name.endswith(side) and not name.startswith(("jaw", "mouth_right")):
            opposite = name.replace(side, other)
            assert value(moved, opposite) <= value(topology.canonical, opposite) + 0.05


def test_looking_aside_is_out_for_one_eye_and_in_for_the_other(topology):
    pose = head_pose(topology.canonical, topology)
    values = expression_of(topology.canonical, pose, np.array([15.0, 0.0]), topology)
    named = dict(zip(EXPRESSION_NAMES, values.tolist(), strict=True))
    assert named["eye_look_out_left"] == pytest.approx(0.5, abs=0.02) == named["eye_look_in_right"]
    assert named["eye_look_in_left"] == 0 == named["eye_look_out_right"]


def test_harmonics_are_orthogonal():
    """Over the sphere, the nine functions' products integrate to nothing."""
    points = np.random.default_rng(0).normal(size=(200_000, 3))
    basis = harmonics(points / np.linalg.norm(points, axis=1, keepdims=True))
    gram = basis.T @ basis / len(basis)
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 0.01


def lit(topology, direction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture of the average face under a lamp (direction: right, up, to the camera), its mesh, its regions."""
    mesh = topology.canonical * 12 + np.array([128.0, 110, 0])
    normals = topology.normals(mesh) * [1, -1, -1]
    light = 0.35 + 0.5 * np.clip(normals @ np.array(direction), 0, None)
    picture = np.zeros((256, 256, 3), np.uint8)
    order = np.argsort(mesh[:, 2])[::-1]  # far points first
    rows, columns = np.mgrid[:256, :256]
    for point in order:
        x, y = mesh[point, :2]
        near = (columns - x) ** 2 + (rows - y) ** 2 < 25
        picture[near] = np.array([230, 190, 160]) * np.sqrt(light[point])
    return picture, mesh, np.full((256, 256), Region.SKIN, np.uint8)


def test_light_comes_from_where_the_lamp_is(topology):
    for direction in ([0.8, 0, 0.6], [-0.8, 0, 0.6], [0, 0.8, 0.6]):
        picture, mesh, regions = lit(topology, direction)
        found = light_direction(light_on(picture, mesh, regions, topology))
        assert int(np.abs(found[:2]).argmax()) == int(np.abs(direction[:2]).argmax())
        assert found[:2] @ np.array(direction[:2]) > 0.1


def test_light_of_the_mirrored_photo(topology):
    picture, mesh, regions = lit(topology, [0.6, 0.4, 0.69])
    light = light_on(picture, mesh, regions, topology).reshape(3, 9)
    flipped = (mesh * [-1, 1, 1] + [256, 0, 0])[topology.mirror]
    back = light_on(np.ascontiguousarray(picture[:, ::-1]), flipped, regions, topology).reshape(3, 9)
    signs = np.array([1, -1, 1, 1, -1, 1, -1, 1, 1])
    assert np.abs(back - light * signs).max() < 0.05
    assert light[:, 0].argsort().tolist() == [2, 1, 0]  # red skin: red, then green, then blue


def test_linear_light_is_the_srgb_curve():
    assert linear(np.array([0, 255, 188])) == pytest.approx([0, 1, 0.5], abs=0.01)


@pytest.mark.parametrize("angles", [(0, 0, 0), (25, 0, 0), (0, -12, 0), (0, 0, 170), (20, 20, 20)])
def test_a_turn_is_the_angle_of_the_rotation_between_poses(angles: tuple[float, float, float]) -> None:
    front, other = (
        HeadPose(rotation=rotation_of(*each), scale=1.0, centre=np.zeros(3)) for each in ((0, 0, 0), angles)
    )
    eigenvalues = np.linalg.eigvals(other.rotation)
    assert turn(front, other) == pytest.approx(np.degrees(np.abs(np.angle(eigenvalues)).max()), abs=1e-4)
    assert turn(other, front) == pytest.approx(turn(front, other))
