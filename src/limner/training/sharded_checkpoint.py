"""Checkpoints of a model that lies in pieces on several processes: every process writes its own.

The files are safetensors, written by torch.distributed.checkpoint's writer for them; each says in its header where its
pieces belong. So another number of processes can read them, each its new pieces, and one process can read all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.tensor import DTensor, distribute_tensor

from limner.errors import InputError
from limner.files import writing

PIECES = "pieces"  # the folder's name in a checkpoint


def write_checkpoint_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors; every process of the run calls this with its pieces (DTensor)."""
    try:
        dcp.save(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except CheckpointException as error:
        first = next(iter(error.failures.values()))[0]
        if not isinstance(first, OSError):
            raise
        with writing(folder):
            raise first from error


def stored(folder: Path) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Shape and number type of every tensor in `folder`, by name."""
    metadata = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return {
        name: (entry.size, entry.properties.dtype)
        for name, entry in metadata.items()
        if isinstance(entry, TensorStorageMetadata)
    }


def read_checkpoint_shards(folder: Path, into: Mapping[str, Tensor], alone: bool = False) -> None:
    """Fill tensors (whole, or this process's pieces) by name; by all processes together, or by this one alone.

    Raises InputError for a damaged file.
    """
    try:
        dcp.load(
            dict(into),
            storage_reader=HuggingFaceStorageReader(str(folder)),
            no_dist=alone or not dist.is_initialized(),
        )
    except CheckpointException as error:
        raise InputError(f"{folder} is damaged: remove that checkpoint, then go on from an older one") from error


def read_whole(folder: Path, prefix: str = "") -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, put together in this process, without the prefix."""
    whole = {name: torch.empty(size, dtype=dtype) for name, (size, dtype) in stored(folder).items()
             if name.startswith(prefix)}  # fmt: skip
    read_checkpoint_shards(folder, whole, alone=True)
    return {name.removeprefix(prefix): tensor for name, tensor in whole.items()}


def spread(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor as `like` lies: as it is, or this process's pieces of it."""
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
