"""Training configs: one validated TOML file per trained artefact, with `--set key=value` overrides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from limner.aliases import RUN_CONFIGS, renamed_training
from limner.errors import InputError
from limner.parsing import TextError, parse_toml

MOST_CHARACTERS = 1_000_000  # of a recipe


class TrainSettings(BaseModel):
    """How to optimise; the same fields for every task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(gt=0, description="Total number of optimiser steps.")
    batch_size: int = Field(gt=0, description="Samples per micro-batch.")
    accumulate: int = Field(
        default=1, gt=0, description="Gradient accumulation: micro-batches per step, over all processes."
    )
    strategy: Literal["ddp", "fsdp"] = Field(default="ddp", description="Several processes: data parallel, or FSDP2.")
    mixed_precision_param: Literal["fp32", "bf16"] = Field(
        default="fp32", description="fsdp: number type in which blocks are gathered and computed; masters stay."
    )
    recompute: bool = Field(default=False, description="Activation checkpointing of the blocks.")
    compile: bool = Field(default=False, description="Use torch.compile for the repeated blocks.")
    optimizer: Literal["adamw", "prodigy", "muon"] = Field(
        default="adamw",
        description="prodigy: finds its step size; muon: Muon for hidden matrices.",
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="Peak learning rate, reached after the warm-up.")
    final_learning_rate: float = Field(default=0.0, ge=0, description="Learning rate at the end of the cosine.")
    warmup: int = Field(default=100, ge=0, description="Steps of linear warm-up.")
    weight_decay: float = Field(
        default=0.01, ge=0, description="Decoupled weight decay of matrices; vectors do not decay."
    )
    betas: tuple[float, float] = Field(default=(0.9, 0.99), description="β₁ and β₂ of AdamW.")
    clip: float = Field(default=1.0, gt=0, description="Maximum gradient norm.")
    ema: float = Field(default=0.999, ge=0, lt=1, description="Decay of the EMA weights; 0 disables EMA.")
    precision: Literal["bf16", "fp32"] = Field(default="bf16", description="Autocast precision.")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Device.")
    seed: int = Field(default=0, ge=0, description="Random seed of weights, data order and noise.")
    threads: int = Field(default=0, ge=0, description="Intra-op threads; 0: the default of PyTorch.")
    loader_threads: int = Field(default=1, ge=1, description="Threads that prefetch batches.")
    channels_last: bool = Field(default=False, description="channels_last memory format.")
    log_every: int = Field(default=20, gt=0, description="Steps between log lines.")
    validate_every: int = Field(default=1000, gt=0, description="Steps between validations.")
    sample_every: int = Field(default=1000, gt=0, description="Steps between sample sheets.")
    checkpoint_minutes: float = Field(default=5.0, gt=0, description="Minutes between checkpoints.")


class TrainingConfig(BaseModel):
    """A training run as data: `[task]` says what, `[train]` says how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", description="Name of the artefact and of the run folder.")
    task: dict[str, Any] = Field(description="`kind` of task and its settings.")
    train: TrainSettings


def read_training_config(path: Path, overrides: list[str] | None = None) -> TrainingConfig:
    """Read a training config and apply overrides such as `train.learning_rate=3e-4`.

    Raises InputError naming the file, the field and what is wrong with it.
    """
    try:
        data = parse_toml(path.read_text(encoding="utf-8"), MOST_CHARACTERS)
    except FileNotFoundError:
        raise InputError(f"no training config at {path}: those of Limner are in configs/") from None
    except (TextError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a TOML file: {error}") from None
    for override in overrides or []:
        _apply(data, override)
    try:
        data = renamed_training(data)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    try:
        return TrainingConfig.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {field}: {first['msg']} (got {first['input']!r:.200})") from None


def read_run_config(run: Path) -> dict[str, Any] | None:
    """The training config that the run in folder `run` was started with, with new names; None for another folder."""
    for name in RUN_CONFIGS:
        if (run / name).is_file():
            return renamed_training(json.loads((run / name).read_text(encoding="utf-8")))
    return None


def check_same_run(run: Path, config: TrainingConfig) -> None:
    """Raise InputError when the run in folder `run` was started with another task, seed or batch than `recipe` says.

    A run that goes on with them would be neither the old one nor a new one, since a batch is a function of the step.
    Steps, learning rates, logging and machine settings may change. A folder without config.json passes.
    """
    before, now = read_run_config(run), config.model_dump(mode="json")
    if before is None:
        return
    pairs = [("task", name) for name in sorted(before["task"].keys() | now["task"].keys())]
    pairs += [("train", name) for name in ("seed", "batch_size", "accumulate")]
    for table, name in pairs:
        old, new = before[table].get(name), now[table].get(name)
        if old != new:
            raise InputError(
                f"{run} was started with {table}.{name} = {old!r}, not {new!r}: use the config it was started "
                "with, or start a new run with --run"
            )


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {override!r}: write it as key=value, for example train.steps=1000")
    *parents, last = key.strip().split(".")
    table = data
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise InputError(f"--set {override!r}: {parent} is a value, not a table")
    try:
        table[last] = parse_toml(f"value = {text}", MOST_CHARACTERS)["value"]
    except TextError:
        table[last] = text.strip()  # a bare word is a string: --set task.kind=parser
