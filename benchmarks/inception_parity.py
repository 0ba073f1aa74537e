"""Whether our InceptionV3 gives torch-fidelity's features on random weights; writes results/inception-parity.json.

    pip download --no-deps torch-fidelity==0.3.0 && unzip torch_fidelity-0.3.0-py3-none-any.whl -d DIR
    python benchmarks/inception_parity.py DIR

torch-fidelity asks for torchvision, of which its network needs nothing; so it is read from the unpacked wheel, without
the package's own imports.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import types
from importlib import import_module
from pathlib import Path

import torch

from limner.evaluation.inception import Inception
from limner.evaluation.results import store_result


def randomise(network: Inception) -> Inception:
    """Random weights and statistics of a scale at which features differ."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() == 4:
                parameter.normal_(0, (2 / parameter[0].numel()) ** 0.5)
            else:
                parameter.uniform_(0.5, 1.5) if name.endswith("weight") else parameter.normal_(0, 0.1)
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
            elif name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
    return network.eval()


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="folder of the unpacked wheel")
    parser.add_argument("--out", type=Path, default=Path("results/inception-parity.json"))
    given = parser.parse_args()
    package = types.ModuleType("torch_fidelity")
    package.__path__ = [str(given.wheel / "torch_fidelity")]
    sys.modules["torch_fidelity"] = package
    helpers = types.ModuleType("torch_fidelity.helpers")
    helpers.vassert = lambda truth, message: None  # type: ignore[attr-defined]
    sys.modules["torch_fidelity.helpers"] = helpers
    theirs = import_module("torch_fidelity.feature_extractor_inceptionv3").FeatureExtractorInceptionV3
    torch.manual_seed(0)
    ours = randomise(Inception())
    with tempfile.TemporaryDirectory() as place:
        torch.save(ours.state_dict(), Path(place) / "w.pth")
        reference = theirs("inception", ["2048"], feature_extractor_weights_path=str(Path(place) / "w.pth")).eval()
    pictures = torch.randint(0, 256, (2, 3, 299, 299), dtype=torch.uint8)
    with torch.no_grad():
        a, (b,) = ours(pictures.float()), reference(pictures)
    figures = {"largest_difference": float((a - b).abs().max()), "spread_of_features": float(b.std())}
    store_result(
        given.out, "python benchmarks/inception_parity.py DIR", figures, 0, {"reference": "torch-fidelity 0.3.0"}
    )
    print(figures)


if __name__ == "__main__":
    main()
