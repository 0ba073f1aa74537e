"""insightface's ArcFace networks in ONNX (antelopev2's glintr100, iresnet50, iresnet100) → safetensors for Limner.

    pip install onnx
    python tools/convert/insightface.py glintr100.onnx arcface.safetensors --accept-licence

Limner reads identity as a map and a vector, and trains through the network, for which it needs the weights themselves.
An ONNX file names only some of them, because exporting folds a convolution and the normalisation behind it into one;
they are found again by the order in which the network runs. The result computes what the file computes (checked on a
random picture before anything is written).

Licence: insightface's code is MIT, but its trained models "are available for non-commercial research purposes only".
--accept-licence says that you have read and accept the terms of the file you convert; the notice stands in the result's
header.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from limner.errors import InputError
from limner.faces.iresnet import DEPTHS, EPSILON, SIDE, Block, IResNet
from limner.weights.tensors import save_tensors

NOTICE = (
    "converted from {name} (sha256 {digest}) of insightface, whose trained models are for non-commercial research: "
    "https://github.com/deepinsight/insightface"
)
TOLERANCE = 1e-3


class Node:
    """A layer of the file: its kind and its arrays, in the order of the operator's inputs."""

    def __init__(self, kind: str, arrays: list[np.ndarray]) -> None:
        self.kind, self.arrays = kind, arrays


def read_nodes(file: Path) -> list[Node]:
    """Convolutions, normalisations, PReLUs and matrix products of a network, in the order in which they run."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        graph: Any = onnx.load(str(file)).graph
    except DecodeError as error:
        raise InputError(f"{file} is no ONNX network: {type(error).__name__}") from error
    arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type in ("Conv", "BatchNormalization", "PRelu", "Gemm"):
            found = [arrays[name] for name in node.input[1:] if name in arrays]
            if node.op_type == "Gemm" and not next((a.i for a in node.attribute if a.name == "transB"), 0):
                found[0] = found[0].T
            nodes.append(Node(node.op_type, found))
    return nodes


class Reader:
    """Hands the file's layers to a network's, in its order."""

    def __init__(self, nodes: list[Node], file: Path) -> None:
        self.left, self.file = iter(nodes), file
        self.held: Node | None = None

    def _next(self, kind: str) -> Node | None:
        node = self.held or next(self.left, None)
        self.held = None
        if node is None or node.kind == kind:
            return node
        self.held = node
        return None

    def take(self, kind: str) -> list[torch.Tensor]:
        """The arrays of the next layer, which must be of that kind."""
        node = self._next(kind)
        if node is None:
            found = "its end" if self.held is None else f"a {self.held.kind}"
            raise InputError(f"{self.file}: where an iresnet has a {kind}, it has {found}: it is another network")
        return [torch.from_numpy(np.array(array)) for array in node.arrays]

    def convolution(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        """A convolution and the normalisation behind it, folded into one or not."""
        weight, *bias = self.take("Conv")
        self.fill(conv.weight, weight)
        if not bias:  # an iresnet's convolutions have none of their own: a folded normalisation brings it
            self.norm(norm)
            return
        self.fill(norm.weight, torch.ones_like(norm.weight))
        self.fill(norm.bias, bias[0])
        self.fill(norm.running_mean, torch.zeros_like(norm.bias))
        self.fill(norm.running_var, torch.full_like(norm.bias, 1 - EPSILON))  # so that it divides by exactly 1

    def norm(self, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        """A normalisation that stands alone."""
        for place, value in zip((norm.weight, norm.bias, norm.running_mean, norm.running_var),
                                self.take("BatchNormalization")):  # fmt: skip
            self.fill(place, value)

    def prelu(self, layer: nn.PReLU) -> None:
        """A PReLU."""
        self.fill(layer.weight, self.take("PRelu")[0].flatten())

    def fill(self, place: Any, value: torch.Tensor) -> None:
        """Copy, if the shapes are the same."""
        if place.shape != value.shape:
            raise InputError(f"{self.file}: a layer is {list(value.shape)}, an iresnet's is {list(place.shape)}")
        with torch.no_grad():
            place.copy_(value)


def blocks_of(network: IResNet) -> Iterator[Block]:
    for number in (1, 2, 3, 4):
        for block in getattr(network, f"layer{number}"):
            assert isinstance(block, Block)
            yield block


def rebuild(nodes: list[Node], file: Path) -> IResNet:
    """The iresnet whose layers these are. ``InputError`` if they are another network's."""
    convolutions = sum(node.kind == "Conv" for node in nodes)
    depth = next((name for name, repeats in DEPTHS.items() if 2 * sum(repeats) + 5 == convolutions), None)
    if depth is None:
        raise InputError(f"{file} has {convolutions} convolutions, which is none of {', '.join(DEPTHS)}")
    network, reader = IResNet(depth).eval(), Reader(nodes, file)
    reader.convolution(network.conv1, network.bn1)
    reader.prelu(network.prelu)
    for block in blocks_of(network):
        reader.norm(block.bn1)
        reader.convolution(block.conv1, block.bn2)
        reader.prelu(block.prelu)
        reader.convolution(block.conv2, block.bn3)
        if block.downsample is not None:
            conv, norm = block.downsample[0], block.downsample[1]
            assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            reader.convolution(conv, norm)
    reader.norm(network.bn2)
    weight, bias = reader.take("Gemm")
    reader.fill(network.fc.weight, weight)
    reader.fill(network.fc.bias, bias)
    separate = reader._next("BatchNormalization")
    if separate is not None:
        reader.held = separate
        reader.norm(network.features)
    else:  # folded into the matrix product
        for place, value in ((network.features.running_var, 1 - EPSILON), (network.features.running_mean, 0.0)):
            assert place is not None
            place.fill_(value)
    return network


@torch.no_grad()
def difference(network: IResNet, file: Path) -> float:
    """The largest difference of the two networks' vectors for a random aligned face of 112 pixels, relative to size."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    face = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: face.numpy()})[0])
    found = network.from_crop(face)[1]
    return float((found - expected).abs().max() / expected.abs().max())


def convert(file: Path, out: Path) -> str:
    """Write the network of an ONNX file as safetensors; returns which iresnet it is."""
    from limner.weights.registry import hash_file

    network = rebuild(read_nodes(file), file)
    if (found := difference(network, file)) > TOLERANCE:
        raise InputError(f"{file}: rebuilt, it answers differently (by {found:.2g}): it is another network")
    notice = NOTICE.format(name=file.name, digest=hash_file(file)[:16])
    save_tensors(out, network.state_dict(), {"licence": notice})
    blocks = tuple(len(getattr(network, f"layer{number}")) for number in (1, 2, 3, 4))
    return next(name for name, repeats in DEPTHS.items() if repeats == blocks)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="ONNX file of an ArcFace network")
    parser.add_argument("out", type=Path, help="safetensors file to write")
    parser.add_argument("--accept-licence", action="store_true", help="you have read and accept the file's terms")
    given = parser.parse_args(arguments)
    if not given.accept_licence:
        raise InputError(
            "insightface's trained models are for non-commercial research only: read their terms, then add "
            "--accept-licence"
        )
    if not given.file.is_file():
        raise InputError(f"{given.file}: there is no such file")
    depth = convert(given.file, given.out)
    print(f"{given.out}: {depth}, {given.out.stat().st_size:,} bytes; for non-commercial research only")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
