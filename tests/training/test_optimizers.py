"""Optimisers: they learn, keep what the plan says, and a resumed run is the uninterrupted one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from limner.errors import InputError
from limner.training.checkpoint import load_checkpoint, save_checkpoint
from limner.training.config import TrainSettings
from limner.training.memory_estimate import MOMENTS
from limner.training.optimizer import make_optimizers

RATES = {"adamw": 1e-2, "prodigy": 1.0}
STEPS = {"adamw": 40, "prodigy": 200}  # prodigy's step size starts at a millionth and has to grow first


def settings(optimizer: str, **fields) -> TrainSettings:
    values = {"steps": 10, "batch_size": 2, "optimizer": optimizer, "learning_rate": RATES[optimizer], **fields}
    return TrainSettings.model_validate(values)


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64))


def learn(model, optimizers, steps: int, start: int = 0) -> list[float]:
    losses = []
    for step in range(start, start + steps):
        generator = torch.Generator().manual_seed(step % 4)
        x = torch.randn(16, 64, generator=generator)
        loss = (model(x) - x.flip(1)).square().mean()
        optimizers.set_rate(1.0)
        loss.backward()
        optimizers.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", sorted(RATES))
def test_they_learn_and_resume_to_the_bit(name: str, tmp_path: Path) -> None:
    model = network()
    optimizers = make_optimizers(model, settings(name))
    losses = learn(model, optimizers, STEPS[name])
    assert losses[-1] < 0.6 * losses[0]
    save_checkpoint(tmp_path, 40, model, {k: v.clone() for k, v in model.state_dict().items()}, optimizers, {})
    ahead = learn(model, optimizers, 5, start=40)
    again = network()
    from limner.training.checkpoint import find_checkpoints

    fresh = make_optimizers(again, settings(name))
    load_checkpoint(find_checkpoints(tmp_path)[-1], again, fresh)
    assert learn(again, fresh, 5, start=40) == ahead


@pytest.mark.parametrize("name", sorted(RATES))
def test_moments_take_what_the_plan_counts(name: str) -> None:
    model = network()
    optimizers = make_optimizers(model, settings(name))
    learn(model, optimizers, 2)
    matrices = {index for index, p in enumerate(p for p in model.parameters() if p.dim() == 2)}
    held = 0
    for index, entry in optimizers.state_dicts()[0]["state"].items():
        if index in matrices:
            held += sum(t.numel() * t.element_size() for key, t in entry.items()
                        if isinstance(t, torch.Tensor) and key != "step")  # fmt: skip
    weights = sum(p.numel() for p in model.parameters() if p.dim() == 2)
    assert held / weights == pytest.approx(MOMENTS[name], rel=1e-3)


def test_prodigy_wants_a_factor_not_a_rate() -> None:
    with pytest.raises(InputError, match=r"set 1\.0"):
        make_optimizers(network(), settings("prodigy", learning_rate=1e-4))


def test_its_step_size_grows_from_nothing() -> None:
    model = network()
    optimizers = make_optimizers(model, settings("prodigy"))
    learn(model, optimizers, 1)
    first = optimizers.parts[0].param_groups[0]["d"]
    learn(model, optimizers, 20)
    assert optimizers.parts[0].param_groups[0]["d"] > 5 * first
