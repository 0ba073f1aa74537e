"""The optimiser of a run: AdamW, Prodigy, or Muon for hidden matrices with AdamW for the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from limner.errors import InputError
from limner.training.config import TrainSettings

# Muon orthogonalises the update of a linear map between hidden spaces; these names are maps from or to something else
NOT_HIDDEN = (
    "embed",
    "_in.",
    "head",
    "modulation",
    "table",
    "padding",
    "adapter",
    "router",
    ".mix.",
    "places",
    "directions",
)


class Optimizers:
    """Several optimisers that step together over disjoint parameters."""

    def __init__(self, parts: Iterable[torch.optim.Optimizer]) -> None:
        self.parts = list(parts)
        self.peaks = [[group["lr"] for group in part.param_groups] for part in self.parts]

    def set_rate(self, share: float) -> None:
        """Every group's learning rate to `share` of its own peak."""
        for part, peaks in zip(self.parts, self.peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * share

    def step(self) -> None:
        """One update, after which gradients are gone."""
        for part in self.parts:
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dicts(self) -> list[dict[str, Any]]:
        """The parts' states, in order."""
        return [part.state_dict() for part in self.parts]

    def load_state_dicts(self, states: list[dict[str, Any]]) -> None:
        """Inverse of `state_dicts`."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def make_optimizers(model: nn.Module, settings: TrainSettings) -> Optimizers:
    """As the recipe says. Matrices decay, vectors do not.

    `optimizer = "prodigy"` (Mishchenko and Defazio 2023, arXiv 2306.06101) finds the step size itself; the recipe's
    learning rate is a factor of it, 1 as published. With `optimizer = "muon"` (Jordan et al. 2024; learning rate scaled
    to AdamW's update size, arXiv 2502.16982), two-dimensional weights between hidden layers go to Muon.
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    hidden = [p for name, p in trained if settings.optimizer == "muon" and p.dim() == 2 and _is_hidden(name)]
    chosen = {id(p) for p in hidden}
    matrices = [p for _, p in trained if p.dim() >= 2 and id(p) not in chosen]
    vectors = [p for _, p in trained if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "prodigy":
        return Optimizers([_prodigy(groups, settings)])
    parts: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, settings.learning_rate, settings.betas, fused=True)]
    if hidden:
        parts.append(
            torch.optim.Muon(
                hidden,
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
                momentum=0.95,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return Optimizers(parts)


def _prodigy(groups: list[dict[str, Any]], settings: TrainSettings) -> torch.optim.Optimizer:
    if settings.learning_rate < 0.1:
        raise InputError(
            f"train.learning_rate={settings.learning_rate}: prodigy finds the step size itself, and this is a "
            "factor of it: set 1.0"
        )
    from prodigyopt import Prodigy

    return Prodigy(
        groups, lr=settings.learning_rate, betas=settings.betas, use_bias_correction=True, safeguard_warmup=True
    )


def _is_hidden(name: str) -> bool:
    return not any(part in name for part in NOT_HIDDEN)
