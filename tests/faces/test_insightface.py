"""tools/convert/insightface.py: an ArcFace network in ONNX, with folded normalisations, becomes the same iresnet."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from limner.errors import InputError
from limner.faces.iresnet import IResNet, depth_of
from limner.weights.tensors import read_config

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "convert"))
import insightface  # pyright: ignore[reportMissingImports]


def drawn() -> IResNet:
    """An iresnet18 whose every number, running statistics too, is drawn."""
    generator, network = torch.Generator().manual_seed(0), IResNet("iresnet18")
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5 if "var" in name or value.ndim == 1
                        else torch.randn(value.shape, generator=generator) * (value[0].numel() ** -0.5))  # fmt: skip
    return network.eval()


class FromCrop(torch.nn.Module):
    """What insightface exports: the vector of a crop of 112 pixels."""

    def __init__(self, network: IResNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network.from_crop(x)[1]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[IResNet, Path]:
    network, file = drawn(), tmp_path_factory.mktemp("onnx") / "glint18.onnx"
    torch.onnx.export(
        FromCrop(network).eval(), (torch.zeros(1, 3, 112, 112),), str(file), dynamo=False, opset_version=13
    )
    return network, file


@torch.no_grad()
def test_the_same_network_comes_back(exported: tuple[IResNet, Path], tmp_path: Path, capsys) -> None:
    network, file = exported
    out = tmp_path / "arcface.safetensors"
    insightface.main([str(file), str(out), "--accept-licence"])
    assert "non-commercial" in capsys.readouterr().out and "non-commercial" in read_config(out)["licence"]
    assert depth_of(out) == "iresnet18"
    again, faces = IResNet.load(out), torch.rand(2, 3, 256, 256) * 2 - 1
    for one, two in zip(again.map_and_vector(faces), network.map_and_vector(faces)):
        assert (one - two).abs().max() <= 1e-4 * two.abs().max()


def test_terms_and_other_networks(exported: tuple[IResNet, Path], tmp_path: Path) -> None:
    _, file = exported
    out = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="--accept-licence"):
        insightface.main([str(file), str(out)])
    other = tmp_path / "other.onnx"
    torch.onnx.export(torch.nn.Conv2d(3, 4, 3), (torch.zeros(1, 3, 9, 9),), str(other), dynamo=False)
    with pytest.raises(InputError, match="1 convolutions"):
        insightface.main([str(other), str(out), "--accept-licence"])
    other.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match="no ONNX network"):
        insightface.main([str(other), str(out), "--accept-licence"])
    assert not out.exists()
