"""Tensor files: safetensors with the configuration in the header, read strictly.

One file says what it is: the header's metadata key `config` holds JSON, so no side file can be lost or swapped.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from limner.errors import InputError
from limner.files import atomic_write
from limner.parsing import TextError, parse_json
from limner.weights.quantised import dequantise

_CHECKED = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def save_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    dtype: torch.dtype | None = None,
) -> None:
    """Write `tensors` and `config` to one safetensors file, all or nothing.

    `dtype` casts the floating-point tensors (torch.float16 or torch.bfloat16 for shipped weights); integers stay as
    they are. The same tensors and config give the same bytes. Raises ValueError for a config that JSON cannot hold and
    for a cast that overflows to infinity.
    """
    # A single metadata key: safetensors writes several in random order, and the bytes would differ from run to run.
    header = {"config": json.dumps(config, sort_keys=True, allow_nan=False)}
    ready: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        value = tensor.detach().cpu()
        if dtype is not None and value.is_floating_point():
            cast = value.to(dtype)
            if not torch.isfinite(cast).all() and torch.isfinite(value).all():
                raise ValueError(
                    f"tensor '{key}' does not fit {dtype}: its largest magnitude is {value.abs().max():.3g}"
                )
            value = cast
        # Tensors that share storage (tied weights) are written once each: the file has no notion of sharing.
        ready[key] = value.clone(memory_format=torch.contiguous_format)
    with atomic_write(path) as temporary:
        write_tensors(temporary, ready, header)


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """safetensors' `save_file`, but what the system refuses to write is an OSError, as it is everywhere else."""
    try:
        save_file(dict(tensors), path, metadata=None if metadata is None else dict(metadata))
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from error


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors as they are stored, and the config, of a safetensors file; see `load_tensors`.

    NaN and infinity are refused, because a model with such weights fails silently.
    """
    with opened(path) as handle:
        tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 (not a mapping)
        config = _config(path, handle)
    for key, tensor in tensors.items():
        if tensor.dtype in _CHECKED and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{path}: tensor '{key}' contains NaN or infinity: the file is damaged; fetch it again")
    return tensors, config


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The config of a file, without its tensors. Raises InputError as `load_tensors` does."""
    with opened(path) as handle:
        return _config(path, handle)


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """safetensors' handle on a file, to read parts of it. Raises InputError as `load_tensors` does."""
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file} is not a file: give the path of a .safetensors file")
    try:
        with safe_open(file, framework="pt") as handle:
            yield handle
    except SafetensorError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{file} is not a whole safetensors file (truncated, over-long or another format): {reason}; fetch it again"
        ) from error


def _config(path: str | os.PathLike[str], handle: Any) -> dict[str, Any]:
    try:
        config = parse_json((handle.metadata() or {}).get("config", "{}"))
    except TextError as error:
        raise InputError(f"{path} has a header whose config is not JSON: fetch it again") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} has a header whose config is not a JSON object: fetch it again")
    return config


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU, in the dtype they were saved in) and the config of a file.

    Matrices stored in 8 bits (see `limner.weights.quantised`) come back as float32. A file without a config gives {}.
    Raises InputError, one line, when the file is absent, truncated, over-long or not safetensors.
    """
    tensors, config = read_tensors(path)
    return dequantise(tensors), config


def load_sharded(folder: str | os.PathLike[str], name: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of `folder/name` (a .safetensors file), or of the shards that `name.index.json` lists, one by one.

    The hub's convention, which diffusers and transformers share. Raises InputError as `load_tensors` does.
    """
    index = Path(folder) / f"{name}.index.json"
    files = [name]
    if index.is_file():
        files = _shards(index)
    for file in files:
        yield from load_tensors(Path(folder) / file)[0].items()


def _shards(index: Path) -> list[str]:
    """The files that an index names; they lie beside it."""
    try:
        names = sorted(set(parse_json(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (TextError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} is no list of shards: fetch it again") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise InputError(f"{index} names {str(name)[:80]!r}, which does not lie beside it: fetch it again")
    return names


def load_into(module: nn.Module, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Fill every parameter and persistent buffer of `module` from a file and return the file's config.

    Strict: a missing, unexpected or differently shaped tensor is an InputError that names the first one. Values are
    cast to the dtype the module has. A module on the meta device takes the tensors themselves, in its own dtype.
    """
    tensors, config = load_tensors(path)
    wanted = module.state_dict()
    check_keys(tensors, wanted, where=str(path))
    ready = {key: value.to(wanted[key].dtype) for key, value in tensors.items()}
    on_meta = any(value.is_meta for value in wanted.values())
    module.load_state_dict(ready, strict=True, assign=on_meta)
    return config


def check_keys(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str) -> None:
    """Raise InputError naming the first tensor that is missing, mis-shaped or unexpected in `found`."""
    missing = [key for key in wanted if key not in found]
    unexpected = [key for key in found if key not in wanted]
    for key, value in wanted.items():
        if key in found and found[key].shape != value.shape:
            raise InputError(
                f"{where}: tensor '{key}' is {list(found[key].shape)}, the model needs {list(value.shape)}; "
                "this file belongs to another configuration"
            )
    if missing:
        raise InputError(
            f"{where}: tensor '{missing[0]}' is missing ({len(missing)} missing, {len(unexpected)} unexpected); "
            "this file belongs to another model"
        )
    if unexpected:
        raise InputError(
            f"{where}: tensor '{unexpected[0]}' is unexpected ({len(unexpected)} such); "
            "this file belongs to another model"
        )
