"""Linear probes of looks on the generator's w: what a face will probably look like, before it is drawn.

A draw of w costs a thousandth of a drawn and measured face, so faces with rare looks are found by drawing many w and
keeping the one that a probe expects most of. One ridge regression for each look: score(w) = a + b·w, in standard
deviations of the look over the faces that it was fitted on.

Legend: N faces, K looks, D = 512.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from limner.data.directions import fit_ridge
from limner.data.shards import iterate, unpack_attributes
from limner.data.synthetic import WIDTH
from limner.errors import InputError
from limner.faces.record import Attribute
from limner.faces.vocabulary import VOCABULARY
from limner.weights.store import locate
from limner.weights.tensors import load_tensors, save_tensors

FILE = "look_probes.safetensors"
NAME = "synth-directions"
FEWEST = 1500  # faces that one regression on 512 numbers needs

Attributes = Mapping[str, Attribute]


def _chance(name: str, *values: object) -> Callable[[Attributes], float]:
    """Probability that an attribute has one of these values; NaN where it was not measured.

    What the found value leaves is shared out evenly among the attribute's other values.
    """
    possible = VOCABULARY[name].values
    others = len(possible) - 1 if isinstance(possible, tuple) else 1

    def measure(attributes: Attributes) -> float:
        found = attributes.get(name)
        if found is None:
            return float("nan")
        if found.value in values:
            return found.confidence
        return (1 - found.confidence) * len(values) / others

    return measure


def _rank(name: str, *order: str) -> Callable[[Attributes], float]:
    """Place of the value in an order of values; NaN where it was not measured."""

    def measure(attributes: Attributes) -> float:
        found = attributes.get(name)
        return float("nan") if found is None else float(order.index(str(found.value)))

    return measure


def _number(name: str) -> Callable[[Attributes], float]:
    return lambda attributes: float(attributes[name].value) if name in attributes else float("nan")


LOOKS: Mapping[str, Callable[[Attributes], float]] = {
    "age": _number("age"),
    "woman": _chance("gender_presentation", "woman"),
    "skin": _rank("skin_tone", "dark", "brown", "tan", "medium", "light", "very light"),
    "black_hair": _chance("hair_colour", "black"),
    "brown_hair": _chance("hair_colour", "brown"),
    "blond_hair": _chance("hair_colour", "blond"),
    "red_hair": _chance("hair_colour", "red"),
    "grey_hair": _chance("hair_colour", "grey", "white"),
    "hair_length": _rank("hair_length", "bald", "short", "medium", "long"),
    "bangs": _chance("bangs", True),
    "bald": _chance("bald", True),
    "beard": _rank("beard", "none", "stubble", "full"),
    "moustache": _chance("moustache", True),
    "glasses": _chance("glasses", True),
    "sunglasses": _chance("sunglasses", True),
    "hat": _chance("hat", True),
    "earrings": _chance("earrings", True),
    "lipstick": _chance("lipstick", True),
    "smile": _rank("smile", "none", "slight", "broad"),
    "mouth_open": _chance("mouth_open", True),
    "background": _rank("background_brightness", "dark", "medium", "bright"),
}
"""Look → its measure, from the attributes of a face record."""


@dataclass(frozen=True, kw_only=True)
class LookProbes:
    """names: K looks. weights: (K, D) and intercepts (K,), which score a w in standard deviations of the look.
    means, spreads: (K,) of each look in its own unit. r2: (K,) share of the look's variance that the probe explains on
    faces it was not fitted on.
    """

    names: tuple[str, ...]
    weights: np.ndarray
    intercepts: np.ndarray
    means: np.ndarray
    spreads: np.ndarray
    r2: np.ndarray

    def standardise(self, name: str, value: float) -> float:
        """A value of a look in its own unit, in standard deviations around its mean."""
        k = self.names.index(name)
        return float((value - self.means[k]) / self.spreads[k])

    def score(self, w: np.ndarray) -> np.ndarray:
        """Expected looks (N, K) of styles w (N, D), in standard deviations of each look around its mean."""
        return np.asarray(w, np.float32) @ self.weights.T + self.intercepts

    def save(self, path: str | os.PathLike[str], facts: Mapping[str, Any]) -> None:
        """Write one safetensors file, all or nothing."""
        tensors = {
            name: torch.from_numpy(np.asarray(getattr(self, name), np.float32))
            for name in ("weights", "intercepts", "means", "spreads", "r2")
        }
        save_tensors(path, tensors, {"looks": list(self.names), "facts": dict(facts)})

    @classmethod
    def load(cls, source: str | os.PathLike[str] = NAME) -> LookProbes:
        """From the registry, or a file that ``fit_look_probes`` made. InputError for another file."""
        path = locate(source)
        tensors, header = load_tensors(path / FILE if path.is_dir() else path)
        if "looks" not in header:
            raise InputError(f"{path} holds no look probes: make them with `limner data probes SET --out {FILE}`")
        return cls(names=tuple(header["looks"]), **{name: value.numpy() for name, value in tensors.items()})


def fit_look_probes(folders: list[str | os.PathLike[str]]) -> LookProbes:
    """Probes from the training faces of built synthetic sets. InputError when there are too few of them."""
    rows = [
        (np.asarray(row["w"], np.float64), unpack_attributes(row["attributes"]))
        for folder in folders
        for row in iterate(folder, "train", ["w", "attributes"])
        if row["w"] is not None
    ]
    if len(rows) < FEWEST:
        raise InputError(f"{len(rows)} faces with their w: at least {FEWEST} are needed to fit probes")
    w = np.stack([row[0] for row in rows])
    assert w.shape[1] == WIDTH
    looks = np.array([[measure(attributes) for measure in LOOKS.values()] for _, attributes in rows])  # (N, K)
    means, spreads = np.nanmean(looks, 0), np.maximum(np.nanstd(looks, 0), 1e-6)
    weights, r2 = fit_ridge(w - w.mean(0), (looks - means) / spreads)  # (D, K), (K,)
    return LookProbes(
        names=tuple(LOOKS),
        weights=weights.T.astype(np.float32),
        intercepts=(-w.mean(0) @ weights).astype(np.float32),
        means=means.astype(np.float32),
        spreads=spreads.astype(np.float32),
        r2=r2.astype(np.float32),
    )
