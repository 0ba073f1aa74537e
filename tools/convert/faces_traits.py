"""Train the heads of `limner.faces.traits` → src/limner/weights/files/face-traits/heads.safetensors.

    python tools/convert/faces_traits.py DATA [--labels tools/convert/faces_traits.csv]
    python -m limner.weights.registry --refresh

DATA holds the folders that the labels name. The labels (set, file, trait, value) were given by eye, from contact
sheets of the aligned faces, doubtful ones left out. Ridge-penalised softmax regression, the classes weighted so that
rare ones count; printed are accuracy and recall a class in eight-fold cross-validation, which is what the
documentation quotes.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from limner.faces import geometry
from limner.faces.detect import FaceDetector
from limner.faces.efficientnet import EfficientNetLite0
from limner.faces.landmarks import MeshNetwork
from limner.faces.picture import read_picture
from limner.faces.traits import BLOCKS, TraitHeads, pooled
from limner.weights.registry import EMBEDDED
from limner.weights.tensors import save_tensors

HEADS: dict[str, tuple[str, tuple[str, ...]]] = {
    "beard": ("mouth", ("none", "stubble", "full")),
    "moustache": ("mouth", ("no", "yes")),
    "eyewear": ("eyes", ("none", "glasses", "sunglasses")),
    "hat": ("top", ("no", "yes")),
}
RIDGE = 30.0
FOLDS = 8


def fit(x: torch.Tensor, y: torch.Tensor, classes: int, ridge: float = RIDGE) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (classes, D) and biases of softmax regression on x (N, D), y (N,) int, by L-BFGS."""
    mean, spread = x.mean(0), x.std(0) + 1e-3
    z = (x - mean) / spread
    share = torch.bincount(y, minlength=classes).float() / len(y)
    importance = (1 / (classes * share)).sqrt()[y]  # half way between "as they come" and "all classes alike"
    weight, bias = torch.zeros(classes, x.shape[1], requires_grad=True), torch.zeros(classes, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        each = torch.nn.functional.cross_entropy(z @ weight.T + bias, y, reduction="none")
        value = (each * importance).sum() + ridge / 2 * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    folded = weight.detach() / spread
    return folded, bias.detach() - folded @ mean


def aligned(data: Path, names: list[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], np.ndarray, np.ndarray]]:
    """Name, aligned picture (256, 256, 3) and where the photo is in it (256, 256), for every labelled picture."""
    detector, meshes = FaceDetector.load(), MeshNetwork.load()
    for folder, file in names:
        photo = read_picture(data / folder / file)
        best = max(detector.detect(photo), key=lambda d: float(geometry.area(d.box)))
        matrix = geometry.align_ffhq(meshes.find(photo, best.box, best.angle).points)
        everywhere = np.ones(photo.shape[:2], np.uint8)
        inside = geometry.warp(everywhere, matrix, 256, nearest=True, border=0) == 1
        yield (folder, file), geometry.warp(photo, matrix, 256, border="edge"), inside


def read_features(data: Path, names: list[tuple[str, str]]) -> torch.Tensor:
    """Features (N, 112, 12, 12) of the faces in the labelled pictures."""
    heads = TraitHeads(EfficientNetLite0.load(blocks=BLOCKS), {})
    pictures = (torch.from_numpy(crop)[None] for _, crop, _ in aligned(data, names))
    return torch.cat([heads.features(picture.permute(0, 3, 1, 2).float() / 127.5 - 1) for picture in pictures])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--labels", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    labels: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    with options.labels.open(newline="") as handle:
        for row in csv.DictReader(handle):
            labels[row["trait"]][row["set"], row["file"]] = row["value"]
    names = sorted({name for trait in labels.values() for name in trait})
    features = read_features(options.data, names)
    index = {name: i for i, name in enumerate(names)}
    tensors: dict[str, torch.Tensor] = {}
    config = {}
    for trait, (zone, values) in HEADS.items():
        chosen = sorted(labels[trait])
        x = pooled(features[[index[name] for name in chosen]], zone)
        y = torch.tensor([values.index(labels[trait][name]) for name in chosen])
        fold = torch.from_numpy(np.random.default_rng(0).integers(0, FOLDS, len(y)))
        guess = torch.zeros_like(y)
        for k in range(FOLDS):
            weight, bias = fit(x[fold != k], y[fold != k], len(values))
            guess[fold == k] = (x[fold == k] @ weight.T + bias).argmax(1)
        print(f"{trait}: {len(y)} faces, accuracy {(guess == y).float().mean():.3f}")
        for k, value in enumerate(values):
            true, said = y == k, guess == k
            hit = (true & said).sum()
            print(f"  {value}: {true.sum()} faces, recall {hit / true.sum():.3f}, precision {hit / said.sum():.3f}")
        tensors[f"{trait}.weight"], tensors[f"{trait}.bias"] = fit(x, y, len(values))
        config[trait] = {"zone": zone, "values": list(values), "faces": len(y)}
    target = EMBEDDED / "face-traits" / "heads.safetensors"
    save_tensors(target, tensors, {"backbone": "efficientnet-lite0", "heads": config})
    print(f"{target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
