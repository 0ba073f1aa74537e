"""Styles of synthetic faces to train codecs on: those of built sets, and fresh draws of the generator.

Legend: M styles, D = 512.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from limner.codecs.generator import Generator
from limner.codecs.truncation import PSI
from limner.errors import InputError


def read_styles(files: list[Path]) -> np.ndarray:
    """The styles (M, D) float16 of `w.npz` files, in order. InputError for a file without them."""
    return np.concatenate([_read(file)[1] for file in files])


def read_synthetic(folders: list[Path]) -> tuple[list[Path], np.ndarray]:
    """Pictures (N) and styles (N, D) float16 of synthetic sets, in order. InputError for a folder without them."""
    files, styles = [], []
    for folder in folders:
        names, found = _read(folder / "w.npz")
        there = [k for k, name in enumerate(names) if (folder / f"{name}.png").is_file()]
        if not there:
            raise InputError(f"{folder} holds no synthetic faces: make some with `limner data synth`")
        files += [folder / f"{names[k]}.png" for k in there]
        styles.append(found[there])
    return files, np.concatenate(styles)


def _read(file: Path) -> tuple[list[str], np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as stored:
            return [str(name) for name in stored["ids"]], stored["w"]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{file} holds no styles ({error}): make it with `limner data synth`") from error


class StyleBatches:
    """Batches of styles, each a function of its step: a share from a set, the rest drawn anew with truncation."""

    def __init__(self, styles: np.ndarray, batch_size: int, seed: int, share: float = 0.5) -> None:
        """share: of a batch that comes from ``styles``; the last 256 of them are held out."""
        self.styles, self.batch_size, self.seed, self.share = styles, batch_size, seed, share

    def batch(self, step: int) -> dict[str, Tensor]:
        """styles (b, D) from the set; z (B − b, D) and psi (B − b, 1) of fresh draws."""
        random = np.random.default_rng([self.seed, step])
        known = round(self.batch_size * self.share)
        rows = random.integers(0, len(self.styles) - HELD_OUT, known)
        fresh = self.batch_size - known
        return {
            "styles": torch.from_numpy(self.styles[rows].astype(np.float32)),
            "z": torch.from_numpy(random.standard_normal((fresh, self.styles.shape[1]), np.float32)),
            "psi": torch.from_numpy(random.uniform(*PSI, (fresh, 1)).astype(np.float32)),
        }

    def held_out(self, count: int) -> Tensor:
        """The last styles of the set (count, D), which no batch holds. At most ``HELD_OUT``."""
        assert count <= HELD_OUT
        return torch.from_numpy(self.styles[-count:].astype(np.float32))


HELD_OUT = 256


def styles_of(batch: dict[str, Tensor], generator: Generator) -> Tensor:
    """All styles (B, D) of a batch."""
    return torch.cat([batch["styles"], generator.truncate(generator.mapping(batch["z"]), batch["psi"])])
