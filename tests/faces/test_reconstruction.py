"""Coefficients of a 3D face model from the user's regressor: as safetensors, as ONNX, and inside the decomposer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from limner.errors import InputError
from limner.faces.reconstruction import EXPRESSION, SIZES, TOTAL, FaceReconstruction, ResNetRegressor
from limner.models.facex.config import NANO, ControlConfig
from limner.models.facex.control import Controller
from limner.models.facex.decompose import CoefficientMotion
from limner.models.facex.motion import ANGLE_SPREAD
from limner.weights.tensors import save_tensors


def drawn() -> ResNetRegressor:
    """The published layout at an eighth of its width, every weight drawn."""
    torch.manual_seed(0)
    network = ResNetRegressor(width=8, layers=(1, 2, 1, 1))
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) + 0.5 if "var" in name else torch.randn_like(value) * 0.2)
    return network.eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[ResNetRegressor, Path, Path]:
    network, folder = drawn(), tmp_path_factory.mktemp("recon")
    state = {f"net_recon.{name}": value for name, value in network.state_dict().items()}
    save_tensors(folder / "recon.safetensors", state, {})
    torch.onnx.export(network, (torch.zeros(1, 3, 224, 224),), str(folder / "recon.onnx"), dynamo=False)
    return network, folder / "recon.safetensors", folder / "recon.onnx"


@torch.no_grad()
def test_both_files_give_the_same_coefficients(files: tuple[ResNetRegressor, Path, Path]) -> None:
    network, safetensors, onnx = files
    pictures = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(1)) * 2 - 1
    one, two = (FaceReconstruction.load(file).coefficients(pictures) for file in (safetensors, onnx))
    assert one.expression.shape == (2, EXPRESSION) and one.angles.shape == one.translation.shape == (2, 3)
    for a, b in zip(one, two):
        assert a.std() > 1e-3 and (a - b).abs().max() <= 1e-3 * a.abs().max()
    expression, pose = CoefficientMotion(FaceReconstruction(network)).encode([], pictures)
    assert torch.allclose(expression, one.expression) and pose.shape == (2, 6)
    assert torch.allclose(pose[:, :3] * torch.tensor(ANGLE_SPREAD), one.angles, atol=1e-4)


def test_angles_have_limners_signs() -> None:
    """Its axes are x right, y up, z to the camera: R = Rz Ry Rx turns a nose that points at the camera."""
    given = torch.zeros(1, TOTAL)
    first = SIZES["identity"] + SIZES["expression"] + SIZES["texture"]
    given[0, first : first + 3] = torch.tensor([0.2, 0.3, 0.1])  # about x, y, z
    yaw, pitch, roll = FaceReconstruction(lambda x: given).coefficients(torch.zeros(1, 3, 256, 256)).angles[0].tolist()
    nose_after_y = np.array([np.sin(0.3), 0.0, np.cos(0.3)])  # to the right of the picture: the subject's own left
    nose_after_x = np.array([0.0, -np.sin(0.2), np.cos(0.2)])  # down
    assert np.sign(yaw) == np.sign(nose_after_y[0]) and np.sign(pitch) == np.sign(nose_after_x[1])
    assert roll == pytest.approx(-np.degrees(0.1), abs=1e-4)  # anticlockwise is negative
    assert (yaw, pitch) == (pytest.approx(np.degrees(0.3), abs=1e-4), pytest.approx(-np.degrees(0.2), abs=1e-4))


def test_other_networks_are_refused(tmp_path: Path, files: tuple[ResNetRegressor, Path, Path]) -> None:
    save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, {})
    with pytest.raises(InputError, match="no face regressor"):
        FaceReconstruction.load(tmp_path / "x.safetensors")
    torch.onnx.export(torch.nn.Flatten(), (torch.zeros(1, 3, 224, 224),), str(tmp_path / "x.onnx"), dynamo=False)
    with pytest.raises(InputError, match="257"):
        FaceReconstruction.load(tmp_path / "x.onnx")
    (tmp_path / "x.onnx").write_bytes(files[2].read_bytes()[:500])
    with pytest.raises(InputError, match="no ONNX network"):
        FaceReconstruction.load(tmp_path / "x.onnx")


def test_a_controller_of_64_coefficients_is_a_setting() -> None:
    sizes = {"attention_widths": (8,), "attention_heads": (2,), "width": 16}
    config = ControlConfig(**{**NANO, **sizes, "motion_encoder": "d3dfr", "expression": EXPRESSION})
    controller = Controller(config, 8)
    first = controller.assembler.motion[0]
    assert isinstance(first, torch.nn.Sequential) and first[0].in_features == EXPRESSION
    with pytest.raises(ValueError, match="mesh, d3dfr"):
        ControlConfig(**{**NANO, "motion_encoder": "flame"})
