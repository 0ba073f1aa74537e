"""Fit the table of hair colours in `limner.faces.hair` and print it.

    python tools/convert/faces_hair.py DATA [--labels tools/convert/faces_traits.csv]

Same labels and same regression as `faces_traits.py`; needs the region parser. Printed first: accuracy and recall a
colour in ten-fold cross-validation.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import faces_traits
import numpy as np
import torch

from limner.faces.colour import to_lab
from limner.faces.evidence import eroded
from limner.faces.hair import FEWEST, hair_statistics
from limner.faces.parse import RegionParser
from limner.faces.regions import Region
from limner.faces.vocabulary import VOCABULARY

RIDGE = 3.0
FOLDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--labels", type=Path, default=Path(__file__).with_name("faces_traits.csv"))
    options = parser.parse_args()
    with options.labels.open(newline="") as handle:
        labels = {(r["set"], r["file"]): r["value"] for r in csv.DictReader(handle) if r["trait"] == "hair_colour"}
    values = VOCABULARY["hair_colour"].values
    assert isinstance(values, tuple)
    regions, statistics, truth = RegionParser.load(), [], []
    for name, crop, inside in faces_traits.aligned(options.data, sorted(labels)):
        area = eroded((regions.parse(crop[None]).ids[0] == Region.HAIR) & inside, 2)
        if area.sum() >= FEWEST:
            statistics.append(hair_statistics(to_lab(crop)[area]))
            truth.append(values.index(labels[name]))
    x, y = torch.tensor(np.array(statistics), dtype=torch.float32), torch.tensor(truth)
    fold = torch.from_numpy(np.random.default_rng(0).integers(0, FOLDS, len(y)))
    shares = torch.zeros(len(y), len(values))
    for k in range(FOLDS):
        weight, bias = faces_traits.fit(x[fold != k], y[fold != k], len(values), RIDGE)
        shares[fold == k] = (x[fold == k] @ weight.T + bias).softmax(1)
    guess, sure = shares.argmax(1), shares.amax(1) >= 0.6
    print(f"# {len(y)} faces, accuracy {(guess == y).float().mean():.3f}")
    print(f"# {sure.float().mean():.3f} of them at least 0.6 sure, accuracy {(guess == y)[sure].float().mean():.3f}")
    for k, value in enumerate(values):
        print(f"# {value}: {(y == k).sum()} faces, recall {(guess[y == k] == k).float().mean():.3f}")
    weight, bias = faces_traits.fit(x, y, len(values), RIDGE)
    print("COLOURS: dict[str, tuple[float, ...]] = {")
    for value, offset, row in zip(values, bias.tolist(), weight.tolist()):
        print(f'    "{value}": ({", ".join(f"{number:.4f}" for number in (offset, *row))}),')
    print("}")


if __name__ == "__main__":
    main()
