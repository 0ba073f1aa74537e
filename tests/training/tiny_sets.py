"""Tiny prepared sets and recipes of the systems there are, for training them on several processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facex.tiny import write_nano_base
from limner.cli.train import make_task
from limner.data.tensor_shards import finish, pack, write_shard
from limner.training.config import TrainingConfig
from limner.training.loop import train
from limner.training.run_log import read_run_log
from training import tiny

UNIF2ACE = {
    "text_vocabulary": 20, "codebook": 16, "image_tokens": 9, "text_length": 7, "width": 24, "layers": 2, "heads": 2,
    "mlp_width": 40, "token_experts": 4, "token_top_k": 2, "expert_width": 10, "clip_width": 6, "face_width": 5,
    "resampler_width": 8, "resampler_heads": 2,
}  # fmt: skip
SIZES = {name: UNIF2ACE[name] for name in ("text_vocabulary", "codebook", "image_tokens", "clip_width")}
MDITFACE = {
    "latent_channels": 4, "width": 32, "heads": 2, "double_blocks": 1, "single_blocks": 2, "rope_axes": [4, 6, 6],
    "positions": None, "text_width": 12, "text_pooled": 12, "text_length": 5, "modulation_rank": 4, "mask_rank": 3,
}  # fmt: skip
FACEX = {"model": {"width": 16}, "head_steps": 4, "drop_all": 0.2, "identity_weight": 0, "lpips_weight": 0}


def prepare(folder: Path) -> None:
    """Random faces for the three systems below `folder`, and the base that FaceX steers."""
    texts = [[[2 + f % 9, 3 + f % 7]] for f in range(12)]
    write_codes(folder / "unif2ace", SIZES, clip=(4, 6), face=(2, 5), texts=texts)
    write_latents(folder / "mditface", latents=(4, 4, 4), tokens=(5, 12))
    prepare_pairs(folder / "facex")
    write_nano_base(folder / "base")


def write_codes(
    place: Path, sizes: dict[str, int], clip: tuple[int, int], face: tuple[int, int], texts: list[list[list[int]]]
) -> None:
    """A set for UniF²ace of twelve random faces, ten of them to train on; all kinds of text are `texts`."""
    from limner.models.unif2ace.prepared import TEXTS, PreparedConversations, pad_texts

    g = torch.Generator().manual_seed(0)
    tensors = {
        "codes": torch.randint(0, sizes["codebook"], (12, sizes["image_tokens"]), generator=g),
        "clip": torch.randn(12, *clip, generator=g),
        "face": torch.randn(12, *face, generator=g),
        "validation": torch.arange(12) >= 10,
        "ask_long": torch.tensor([[17, 18]]),
        "ask_short": torch.tensor([[19]]),
        **{name: pad_texts(texts) for name in TEXTS},
    }
    PreparedConversations.write(place, tensors, {"tokenizer": "none", "model": sizes}, size=5)


def write_latents(place: Path, latents: tuple[int, int, int], tokens: tuple[int, int]) -> None:
    """A set for MDiTFace of twelve random faces, of 16 pixels a latent, with six texts of at most `tokens`."""
    random, (length, width), side = np.random.default_rng(0), tokens, 16 * latents[2]
    drawn = {
        "latents": random.standard_normal((12, *latents)).astype(np.float16),
        "regions": random.integers(0, 19, (12, side, side), dtype=np.uint8),
        "captions": random.integers(0, 6, (12, 2)).astype(np.int32),
        "validation": np.arange(12) >= 10,
    }
    texts = [random.standard_normal((random.integers(1, length + 1), width)).astype(np.float16) for _ in range(6)]
    table = pack("tokens", [torch.from_numpy(text) for text in texts])
    table |= {"pooled": torch.from_numpy(random.standard_normal((6, width)).astype(np.float32))}
    write_random(place, drawn, table, {"codec": "none", "text_length": length, "live": False})


def write_random(place: Path, rows: dict[str, np.ndarray], table: dict[str, torch.Tensor], header: dict) -> None:
    """A prepared set of shards of five, five and two rows."""
    for number, start in enumerate((0, 5, 10)):
        part = {name: torch.from_numpy(array[start : start + 5]) for name, array in rows.items()}
        write_shard(place, number, part | table, len(part["latents"]), {})
    index = {name: rows[name] for name in ("validation", "person") if name in rows}
    finish(place, header, [5, 5, 2], {**index, "weights": np.ones(12, np.float32)})


def prepare_pairs(place: Path) -> None:
    """Six people with two faces each, nothing but random numbers."""
    from limner.models.facex.decompose import GROUP_SIDE
    from limner.models.facex.masks import GROUPS
    from limner.models.facex.motion import EXPRESSION
    from limner.models.facex.pairs import PARTS_SWAPPED, TASKS

    random, grid = np.random.default_rng(1), (4, 4, 4)
    drawn = {
        "latents": random.standard_normal((12, *grid)).astype(np.float16),
        "structure": random.standard_normal((12, *grid)).astype(np.float16),
        "reference": random.standard_normal((12, len(TASKS), *grid)).astype(np.float16),
        "masks": random.integers(0, 2, (12, len(TASKS), 4, 4), dtype=np.uint8),
        "parts": random.integers(0, len(PARTS_SWAPPED), 12, dtype=np.uint8),
        "hidden": random.random((12, len(GROUPS))) < 0.2,
        "person": np.arange(12) // 2,
        "validation": np.arange(12) >= 10,
        "identity": random.standard_normal((12, 2, 6)).astype(np.float16),
        "level0": random.standard_normal((12, len(GROUPS), 3)).astype(np.float16),
        "groups": random.integers(0, len(GROUPS), (12, GROUP_SIDE, GROUP_SIDE), dtype=np.uint8),
        "expression": random.random((12, EXPRESSION)).astype(np.float32),
        "pose": random.standard_normal((12, 6)).astype(np.float32),
        "gaze": random.standard_normal((12, 2)).astype(np.float32),
        "light": random.standard_normal((12, 27)).astype(np.float32),
    }
    sizes = {"identity_width": 6, "identity_tokens": 2, "level_widths": [3], "pooled": True}
    kinds = {"identity_encoder": "face-identity", "region_encoder": "codec"}
    write_random(place, drawn, {}, sizes | kinds)


def config(kind: str, **settings: Any) -> TrainingConfig:
    """Global batch of eight: four micro-batches of two."""
    task: dict[str, Any] = {
        "unif2ace": {"kind": "unif2ace", "data": "unif2ace", "model": UNIF2ACE},
        "mditface": {"kind": "mditface", "data": "mditface", "model": MDITFACE},
        "facex": {"kind": "facex", "data": "facex", "base": "base", **FACEX},
    }[kind]
    fields = {
        "steps": 8, "batch_size": 2, "accumulate": 4, "learning_rate": 3e-3, "warmup": 3, "precision": "fp32",
        "ema": 0.9, "log_every": 1, "validate_every": 4, "sample_every": 10_000, "threads": 1, "device": "cpu",
    }  # fmt: skip
    return TrainingConfig.model_validate({"name": kind, "task": task, "train": fields | settings})


def train_on(data: Path, run: Path, made: TrainingConfig, resume: bool = False, stop_after: int | None = None) -> None:
    """What a rank does."""
    os.environ["LIMNER_DATA"] = str(data)
    task = make_task(made.task, made.train.batch_size, made.train.seed)
    task.samples = lambda model: None  # no codec lies beside these sets
    train(task, made, run, resume=resume, stop_after=stop_after)


def losses(run: Path) -> list[tuple[int, float]]:
    """(step, loss) of every log line of a run, in order."""
    return [(line["step"], line["loss"]) for line in read_run_log(run / "log.jsonl") if line["kind"] == "train"]


def train_tiny(run: Path, accumulate: int, steps: int, resume: bool) -> None:
    """What a rank does with the network of `tiny.py`, which has dropout: save after every step."""
    made = tiny.config(batch_size=2, accumulate=accumulate, steps=steps, checkpoint_minutes=1e-9)
    train(tiny.TinyTask(batch_size=2), made, run, resume=resume)
