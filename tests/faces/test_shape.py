"""The linear face-shape model: taking apart and putting together are inverse, and the parts do not leak."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from limner.faces.expression import EXPRESSION_NAMES
from limner.faces.motion import HeadPose, head_pose, rotation_of
from limner.faces.record import Face
from limner.faces.shape import FaceShape, ShapeModel
from limner.faces.shape_fit import fit_shape
from limner.faces.topology import Topology


@pytest.fixture(scope="module")
def model() -> ShapeModel:
    return ShapeModel.load()


def draw(model: ShapeModel, seed: int, yaw: float = 0, pitch: float = 0, roll: float = 0) -> FaceShape:
    """A face as likely as the model's own."""
    rng = np.random.default_rng(seed)
    pose = HeadPose(rotation=rotation_of(yaw, pitch, roll), scale=11.0, centre=np.array([128.0, 118.0, 3.0]))
    identity, expression = rng.standard_normal(len(model.identity_scale)), rng.standard_normal(64)
    return FaceShape(pose=pose, identity=identity, expression=expression)


def apart_in(model: ShapeModel, mesh: np.ndarray, pose: HeadPose) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of a mesh whose pose is known."""
    return model.project((mesh - pose.centre) @ pose.rotation / pose.scale)


def test_reconstruction_is_exact_inside_the_span(model: ShapeModel) -> None:
    face = draw(model, 0, 20, -10, 5)
    assert face.expression.shape == (64,)
    mesh = model.compose(face)
    identity, expression = apart_in(model, mesh, face.pose)
    assert np.allclose(identity, face.identity, atol=1e-9) and np.allclose(expression, face.expression, atol=1e-9)
    assert np.allclose(model.compose(FaceShape(pose=face.pose, identity=identity, expression=expression)), mesh)


def test_another_expression_keeps_identity(model: ShapeModel) -> None:
    one, other = draw(model, 1), draw(model, 2)
    mixed = model.compose(replace(one, expression=other.expression))
    identity, expression = apart_in(model, mixed, one.pose)
    assert np.allclose(identity, one.identity, atol=1e-9) and np.allclose(expression, other.expression, atol=1e-9)
    assert np.abs(mixed - model.compose(one)).max() > 1  # pixels: it is another face


@pytest.mark.parametrize("angles", [(0, 0, 0), (25, 0, 0), (-25, 10, -8), (10, -18, 15)])
def test_pose_is_recovered_whatever_the_face(model: ShapeModel, angles: tuple[float, float, float]) -> None:
    for seed in range(5):
        found = model.decompose(model.compose(draw(model, seed, *angles))).pose
        assert np.allclose([found.yaw, found.pitch, found.roll], angles, atol=1.0)  # degrees


def test_a_real_face_is_described_closely(model: ShapeModel, face: Face) -> None:
    apart = model.decompose(face.landmarks)
    mesh = model.compose(apart)
    error = np.linalg.norm(mesh - face.landmarks, axis=1) / apart.pose.scale  # centimetres
    assert error.mean() < 0.3  # what the mesh network bends with the pose is left out on purpose
    assert np.abs(apart.identity[:8]).max() < 5
    mirrored = face.landmarks[model.topology.mirror] * [-1, 1, 1]
    assert head_pose(mirrored, model.topology).yaw == pytest.approx(-apart.pose.yaw, abs=0.5)


def test_a_smile_is_expression(model: ShapeModel, face: Face) -> None:
    """Without her expression the astronaut neither smiles nor shows teeth, and is still as wide between the eyes."""
    apart = model.decompose(face.landmarks)
    still = model.compose(replace(apart, expression=np.zeros(64)))
    assert np.linalg.norm(apart.expression) > 3
    width = lambda mesh: np.linalg.norm(mesh[61] - mesh[291])  # noqa: E731
    gap = lambda mesh: mesh[14, 1] - mesh[13, 1]  # noqa: E731
    assert width(still) < 0.95 * width(face.landmarks) and gap(still) < 0.6 * gap(face.landmarks)
    eyes = lambda mesh: np.linalg.norm(mesh[133] - mesh[362])  # noqa: E731
    assert eyes(still) == pytest.approx(eyes(face.landmarks), rel=0.06)


def test_bad_meshes_are_named(model: ShapeModel) -> None:
    with pytest.raises(ValueError, match=r"\(468, 3\)"):
        model.decompose(np.zeros((478, 3)))


def test_the_fit_tells_people_from_what_they_do(topology: Topology) -> None:
    """Faces made of known parts: what the action measures tell becomes expression, the rest identity."""
    rng = np.random.default_rng(0)
    span = rng.standard_normal((90, 468, 3))
    span[:, topology.rigid] = 0  # no rigid motion, which would be pose
    span = np.linalg.qr(span.reshape(90, -1).T)[0].T
    shown = np.array([not name.startswith("eye_look") for name in EXPRESSION_NAMES])
    acts = np.abs(rng.standard_normal((1500, len(EXPRESSION_NAMES)))) * (
        rng.random((1500, len(EXPRESSION_NAMES))) < 0.5
    )
    who = rng.standard_normal((1500, 40))
    moves = acts[:, shown]
    count = moves.shape[1]
    shapes = topology.canonical + 2 * (moves @ span[:count] + who @ span[count : count + 40]).reshape(-1, 468, 3)
    shapes += 0.01 * rng.standard_normal(shapes.shape)
    fit = fit_shape(shapes * 11.0 + 128, acts.astype(np.float32), topology)
    inside = np.linalg.norm(fit.model.expression_basis @ span.T, axis=0)
    assert inside[:count].mean() > 0.9
    personal = np.linalg.norm(fit.model.identity_basis @ span.T, axis=0)
    assert personal[:count].mean() < 0.35 and personal[count : count + 40].mean() > 0.6
    smile = acts[:, [EXPRESSION_NAMES.index(f"mouth_smile_{side}") for side in ("left", "right")]].mean(1)
    neutral = (smile < 0.1) & (acts[:, EXPRESSION_NAMES.index("jaw_open")] < 0.05)
    assert np.abs(fit.model.project(shapes[neutral].mean(0))[1]).max() < 0.05
    assert np.abs(fit.model.project(shapes.mean(0))[1]).max() > 0.1
    with pytest.raises(ValueError, match="too few"):
        fit_shape(shapes[:100] * 11.0, acts[:100], topology)
