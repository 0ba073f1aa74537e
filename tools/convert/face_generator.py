"""Converts the face generator of the package ``random-face`` from OpenVINO's format to safetensors, and checks it.

    pip install openvino && pip install --no-deps random-face==2021.7.21.1
    python tools/convert/face_generator.py OUT.safetensors

Both networks of the package (Apache-2.0; lineage MobileStyleGAN, StyleGAN2, FFHQ) become one ``Generator``. Constant
factors are folded into weights. The check runs both on the same inputs and prints the largest difference.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.codecs.generator import Generator, GeneratorConfig
from limner.weights.tensors import save_tensors

MEAN_STYLE_DRAWS = 2_000  # w of this many draws of default_rng(0) are averaged, as `limner data synth` does


def package_folder() -> Path:
    found = importlib.util.find_spec("random_face")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("install the generator first: pip install --no-deps random-face==2021.7.21.1")
    return Path(found.submodule_search_locations[0]) / "data"


def constants(model: Any) -> dict[str, np.ndarray]:
    """Every constant of an OpenVINO model by its name."""
    return {o.get_friendly_name(): o.data for o in model.get_ops() if o.get_type_name() == "Constant"}


def sources(model: Any, kind: str) -> list[tuple[str, np.ndarray]]:
    """(name, constant operand) of every operation of a kind, in order of execution."""
    found = []
    for operation in model.get_ordered_ops():
        if operation.get_type_name() != kind:
            continue
        for value in operation.inputs():
            node = value.get_source_output().get_node()
            if node.get_type_name() == "Constant":
                found.append((operation.get_friendly_name(), node.data))
    return found


def convert_mapping(model: Any) -> dict[str, Tensor]:
    weights = [value for _, value in sources(model, "MatMul")]
    biases = [value for _, value in sources(model, "Add") if value.shape == (1, 512)]
    assert len(weights) == len(biases) == 8
    tensors = {}
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        tensors[f"mapping.layers.{index}.weight"] = torch.tensor(weight)
        tensors[f"mapping.layers.{index}.bias"] = torch.tensor(bias[0])
    return tensors


def convert_synthesis(model: Any) -> dict[str, Tensor]:
    values = constants(model)
    # Each modulation of a convolution is scaled by one number; those of upsampling steps and their order are read here.
    scales = _scales(model)
    convolutions = [value for _, value in sources(model, "Convolution")]
    noises = [v for _, v in sources(model, "Add") if v.ndim == 4 and v.shape[:2] == (1, 1)]
    tensors: dict[str, Tensor] = {"first.constant": torch.tensor(values["m.input.input"][0])}

    def modulation(name: str, target: str) -> None:
        scale = scales.get(name, 1.0)
        tensors[f"{target}.modulation.weight"] = torch.tensor(values[f"{name}.modulation.weight"]) * scale
        tensors[f"{target}.modulation.bias"] = torch.tensor(values[f"{name}.modulation.bias"][0]) * scale

    modulation("m.conv1.conv", "first")
    tensors["first.convolution.weight"] = torch.tensor(convolutions.pop(0))
    tensors["first.convolution.bias"] = torch.tensor(values["m.conv1.bias"].ravel())
    tensors["first.noise"] = torch.tensor(noises.pop(0)[0, 0])
    for index in range(7):
        layer, block = f"m.layers.{index}", f"blocks.{index}"
        modulation(f"{layer}.up", block)
        for part in ("1", "2"):
            source, target = f"{layer}.conv{part}", f"{block}.convolution_{part}"
            modulation(f"{source}.conv", target)
            tensors[f"{target}.depthwise.weight"] = torch.tensor(values[f"{source}.conv.weight_dw"][:, 0])
            tensors[f"{target}.pointwise.weight"] = torch.tensor(convolutions.pop(0))
            tensors[f"{target}.pointwise.bias"] = torch.tensor(values[f"{source}.bias"].ravel())
            tensors[f"{target}.noise"] = torch.tensor(noises.pop(0)[0, 0])
    modulation("m.layers.6.to_img.conv", "to_picture")
    tensors["to_picture.convolution.weight"] = torch.tensor(convolutions.pop(0))
    tensors["to_picture.convolution.bias"] = torch.tensor(values["m.layers.6.to_img.bias"].ravel())
    assert not convolutions and not noises
    return tensors


def _scales(model: Any) -> dict[str, float]:
    """Layer name → the constant that multiplies its modulation, found by following the modulation to its use."""
    found = {}
    for operation in model.get_ordered_ops():
        name = operation.get_friendly_name()
        if operation.get_type_name() != "MatMul":
            continue
        weight = operation.inputs()[1].get_source_output().get_node().get_friendly_name()
        node = operation
        while True:
            (user,) = {target.get_node().get_friendly_name(): target.get_node() for target in _targets(node)}.values()
            if user.get_type_name() == "Multiply":
                others = [i.get_source_output().get_node() for i in user.inputs()]
                scalar = [o.data for o in others if o.get_type_name() == "Constant" and o.data.size == 1]
                if scalar:
                    found[weight.removesuffix(".modulation.weight")] = float(scalar[0].ravel()[0])
                break
            node = user
        assert name
    return found


def _targets(node: Any) -> list[Any]:
    return [target for output in node.outputs() for target in output.get_target_inputs()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--check", type=int, default=4, help="how many faces to compare with OpenVINO in float32")
    args = parser.parse_args()
    import openvino  # pyright: ignore[reportMissingImports] (installed for this tool only)

    core, folder = openvino.Core(), package_folder()
    mapping, synthesis = (core.read_model(folder / f"{name}Network.xml") for name in ("Mapping", "Synthesis"))
    generator = Generator(GeneratorConfig())
    tensors = convert_mapping(mapping) | convert_synthesis(synthesis)
    generator.load_state_dict(tensors | {"mean_style": torch.zeros(512)})
    random = np.random.default_rng(0)
    with torch.no_grad():
        draws = torch.from_numpy(np.concatenate([random.standard_normal((1, 512)) for _ in range(MEAN_STYLE_DRAWS)]))
        generator.get_buffer("mean_style").copy_(generator.mapping(draws.float()).mean(0))
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    reference_mapping = core.compile_model(mapping, "CPU", hint)
    reference_synthesis = core.compile_model(synthesis, "CPU", hint)
    largest = 0.0
    for index in range(args.check):
        z = np.random.default_rng(10_000 + index).standard_normal((1, 512)).astype("f4")
        w = next(iter(reference_mapping([z]).values()))
        picture = next(iter(reference_synthesis([w]).values()))
        with torch.no_grad():
            ours = generator.mapping(torch.from_numpy(z))
            largest = max(largest, float((ours - torch.from_numpy(w)).abs().max()))
            largest = max(largest, float((generator(ours) - torch.from_numpy(picture)).abs().max()))
    print(f"largest difference to OpenVINO over {args.check} faces: {largest:.2e}")
    facts = {"architecture": "mobilestylegan", "source": "random-face 2021.7.21.1"}
    save_tensors(args.out, dict(generator.state_dict()), facts, dtype=torch.float16)


if __name__ == "__main__":
    main()
