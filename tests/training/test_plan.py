"""Plans: the formulas against what really lies in memory, and the printed table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from limner.cli.app import main
from limner.models.mditface.memory_estimate import shape as mditface_shape
from limner.models.unif2ace.memory_estimate import shape as unif2ace_shape
from limner.training.config import TrainSettings
from limner.training.ema import EMA
from limner.training.flop_counter import count
from limner.training.memory_estimate import Shape, plan
from limner.training.optimizer import make_optimizers
from training.tiny_sets import MDITFACE, config, prepare

RECIPES = Path(__file__).parents[2] / "configs"


def settings(**fields) -> TrainSettings:
    return TrainSettings.model_validate({"steps": 10, "batch_size": 2, "precision": "fp32", **fields})


def bytes_of(tensors) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def test_weights_gradients_moments_and_average_are_what_they_are() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.Linear(40, 10).requires_grad_(False))
    needs = plan(Shape(model=model, width=40, layers=1, tokens=3, longest=3), settings())
    optimizers, average = make_optimizers(model, settings()), EMA(model, 0.9)
    model(torch.randn(2, 30)).sum().backward()
    own = [average.tensors[name] for name, p in model.named_parameters() if p.requires_grad]
    assert needs.average == bytes_of(own) and needs.weights == bytes_of(model.parameters())
    assert needs.gradients == bytes_of(p.grad for p in model.parameters() if p.grad is not None)
    optimizers.step()
    state = optimizers.state_dicts()[0]["state"].values()
    assert needs.moments == bytes_of(t for entry in state for name, t in entry.items() if name != "step")


def test_activations_are_near_what_autograd_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What both plans take to be kept was counted in this way."""
    from limner.cli.train import make_task

    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    prepare(tmp_path)
    wide = {**MDITFACE, "width": 64, "rope_axes": [8, 12, 12], "double_blocks": 0, "single_blocks": 8}
    made = config("mditface", batch_size=8)
    task = make_task({**made.task, "model": wide, "drop_text": 0, "drop_mask": 0, "drop_both": 0}, 8, 0)
    model, kept = task.build(), {}
    parameters = {p.data_ptr() for p in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        task.loss(model, task.batch(0), torch.Generator().manual_seed(0), 0)
    counted = mditface_shape({"data": "nowhere"}).kept
    shape = Shape(model=model, width=64, layers=8, tokens=5 + 2 * 4, longest=13, kept=counted)
    guess = plan(shape, settings(batch_size=8)).activations
    assert guess == pytest.approx(sum(kept.values()), rel=0.05)
    assert plan(shape, settings(batch_size=8, recompute=True)).activations < guess / 4


def test_what_is_counted_on_empty_networks_is_what_real_ones_do() -> None:
    """Attention and a projection: FLOPs by hand, and what autograd keeps of the fused kernel on this machine."""

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = torch.nn.Linear(16, 48)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = self.project(x).unflatten(2, (3, 2, 8)).permute(2, 0, 3, 1, 4)
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    block, kept, batch, tokens = Block(), {}, 2, 32
    own = {p.data_ptr() for p in block.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        block(torch.randn(batch, tokens, 16))
    with torch.device("meta"):
        empty = Block()
    found = count(lambda: empty(torch.zeros(batch, tokens, 16)), empty.parameters())
    product = 2 * batch * tokens * tokens * 16  # one matrix of all heads
    assert found.flops == 2 * 2 * batch * tokens * 16 * 48 + 7 * product
    assert found.kept == pytest.approx(sum(t.untyped_storage().nbytes() / 4 for t in kept.values()), rel=0.05)


def test_pieces_shrink_with_the_number_of_ranks() -> None:
    shape = unif2ace_shape({"data": "nowhere", "preset": "nano"})
    whole, ddp = plan(shape, settings(), 1), plan(shape, settings(), 8)
    pieces = plan(shape, settings(strategy="fsdp"), 8)
    assert ddp.total == whole.total and pieces.moments == whole.moments / 8
    assert whole.weights / 8 < pieces.weights < whole.weights / 2, "an eighth, and one block whole"


def test_published_sizes_need_no_memory_to_plan() -> None:
    big = unif2ace_shape({"data": "nowhere", "preset": "unif2ace-1.8b"})
    needs = plan(big, settings())
    assert needs.parameters == needs.trained == pytest.approx(1.8e9, rel=0.03)
    flux = plan(mditface_shape({"data": "nowhere", "flux": "nowhere", "rank": 16}), settings())
    assert flux.parameters == pytest.approx(12e9, rel=0.03) and flux.trained < 0.02 * flux.parameters
    assert all(p.is_meta for p in big.model.parameters())


def test_the_verb_prints_a_table_and_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(RECIPES / "unif2ace-1.8b.toml"), "--plan"]) == 0
    assert "H100" in capsys.readouterr().out
    assert main(["train", str(RECIPES / "mditface-flux.toml"), "--plan", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {(row["device"], row["count"]): row for row in found["devices"]}
    assert not rows["RTX 4090", 1]["fits"] and rows["H100 80 GB", 8]["fits"]
    assert main(["train", str(RECIPES / "facex-sd15.toml"), "--plan", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == pytest.approx(994e6, rel=0.01) and found["trained"] < 52e6
    assert main(["train", str(RECIPES / "face-parser.toml"), "--plan"]) == 2
    assert "--plan does not support task.kind = 'parser'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
