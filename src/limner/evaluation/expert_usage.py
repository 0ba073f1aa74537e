"""Which experts every layer of a UniF²ace uses, task by task: the paper's picture of experts per layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.errors import InputError
from limner.models.unif2ace.config import GROUPS, UniF2aceConfig
from limner.models.unif2ace.d3diff import draw_masks
from limner.models.unif2ace.losses import conversation_loss, paint_loss
from limner.models.unif2ace.prepared import PreparedConversations, unpad, unpad_turns
from limner.models.unif2ace.sequence_experts import EXPERTS
from limner.models.unif2ace.task import UniF2aceTask
from limner.models.unif2ace.transformer import UniF2aceTransformer
from limner.training.checkpoint import find_checkpoints, load_ema
from limner.training.config import read_run_config
from limner.weights.registry import registry
from limner.weights.store import locate
from limner.weights.tensors import load_into, read_config

BATCH = 8


def load_model(place: Path) -> UniF2aceTransformer:
    """Weights of the registry, of an exported file, or averaged of a run's newest checkpoint. ``InputError`` else."""
    if str(place) in registry():
        place = Path(locate(str(place)))
    if place.is_dir():
        found, made = find_checkpoints(place / "checkpoints"), read_run_config(place)
        if not found or made is None:
            raise InputError(f"{place} holds no checkpoint of a run: give the folder of one, or exported weights")
        task = UniF2aceTask(made["task"], made["train"]["batch_size"], made["train"]["seed"])
        model = task.build()
        load_ema(found[-1], model)
    else:
        header = read_config(place)
        if "model" not in header:
            raise InputError(f"{place} is no UniF²ace: its header has no 'model'")
        model = UniF2aceTransformer(UniF2aceConfig.from_dict(header["model"]))
        load_into(model, place)
    assert isinstance(model, UniF2aceTransformer)
    return model.eval().requires_grad_(False)


def measure_experts(
    model: UniF2aceTransformer, data: PreparedConversations, faces: int, seed: int = 0
) -> dict[str, Any]:
    """Group → level → share of choices per layer and expert, over held-out faces of a prepared set.

    Token level: choices of tokens that are not padding; sequence level: of whole pictures, whose experts have names.
    Raises ``InputError`` for a model without experts.
    """
    if not model.config.token_experts and not model.config.sequence_experts:
        raise InputError("this model has no experts: there is nothing to show")
    rows = data.rows(validation=True)[:faces]
    shares: dict[tuple[str, str], list[list[Tensor]]] = {}
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    for start in range(0, len(rows), BATCH):
        batch = data.batch(rows[start : start + BATCH], rng, long=start // BATCH % 2 == 0, turns=4)
        codes = batch["codes"]
        gamma, masked = draw_masks((codes.shape[0], codes.shape[1]), generator)
        with torch.no_grad():
            painted = paint_loss(model, unpad(batch["texts"]), codes, masked, gamma)
            talks = unpad_turns(batch["questions"], batch["answers"])
            answered = conversation_loss(model, codes, talks, batch["clip"], batch["face"])
        for group, found in (("paint", painted), ("understand", answered)):
            for level, routings in (("token", found.routing), ("sequence", found.sequence)):
                if routings:
                    shares.setdefault((group, level), []).append([r.share for r in routings])
    return {
        group: {
            level: np.mean([_layers(part) for part in shares[group, level]], 0).tolist()
            for level in ("token", "sequence")
            if (group, level) in shares
        }
        for group in GROUPS
    }


def _layers(shares: list[Tensor]) -> np.ndarray:
    return torch.stack(shares).numpy()  # (layers, experts)


def draw_experts(shares: dict[str, Any], file: Path) -> None:
    """Four maps, group by level: a row a layer, a column an expert, dark where it is chosen most. (.png, .svg, .pdf)"""
    from matplotlib.figure import Figure

    from limner.files import atomic_write

    levels = [level for level in ("token", "sequence") if any(level in found for found in shares.values())]
    figure = Figure(figsize=(4.5 * len(levels), 6), layout="constrained")
    axes = figure.subplots(len(GROUPS), len(levels), squeeze=False)
    for row, group in enumerate(GROUPS):
        for column, level in enumerate(levels):
            axis, found = axes[row][column], np.array(shares[group].get(level, np.zeros((0, 0))))
            if not found.size:
                axis.set_axis_off()
                continue
            image = axis.imshow(found, cmap="Blues", vmin=0, aspect="auto")
            names = EXPERTS[group] if level == "sequence" else range(1, found.shape[1] + 1)
            axis.set_xticks(range(found.shape[1]), [str(name) for name in names])
            axis.set_yticks(range(found.shape[0]), [str(layer + 1) for layer in range(found.shape[0])])
            axis.set(title=f"{group}, {level} level", xlabel="expert", ylabel="layer")
            figure.colorbar(image, ax=axis, label="share of choices")
    with atomic_write(file) as temporary:
        figure.savefig(temporary, dpi=120)
