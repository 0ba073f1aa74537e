"""The linear face-shape model from built sets: reads their meshes, fits, writes one file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from limner.data.shards import read_shards, stack
from limner.errors import InputError
from limner.faces.shape_fit import fit_shape
from limner.faces.topology import Topology
from limner.weights.tensors import save_tensors

_PARTS = ("mean", "identity_basis", "identity_scale", "expression_basis", "expression_scale")


def fit_sets(folders: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> dict[str, Any]:
    """Fit the model on all faces of some built sets, write it (16 bits) and return its figures. Raises InputError."""
    columns = ("landmarks", "expression")
    tables = [read_shards(folder, columns) for folder in folders]
    arrays = {name: np.concatenate([stack(table[name]) for table in tables]) for name in columns}
    try:
        fit = fit_shape(arrays["landmarks"].reshape(-1, 468, 3), arrays["expression"], Topology.load())
    except ValueError as error:
        raise InputError(str(error)) from error
    tensors = {name: torch.from_numpy(np.ascontiguousarray(getattr(fit.model, name))) for name in _PARTS}
    save_tensors(out, tensors, {"facts": fit.facts}, dtype=torch.float16)
    return fit.facts
