"""The identity loss is taken by the network that the set's identity comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from facex.tiny import write_nano_base
from limner.errors import InputError
from limner.faces.identity import IdentityEncoder
from limner.faces.iresnet import IResNet
from limner.models.facex.task import FaceXTask
from limner.weights.tensors import save_tensors
from training.tiny_sets import prepare_pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of random pairs, one that says it was prepared with ArcFace; a base; the weights of an iresnet18."""
    place = tmp_path_factory.mktemp("data")
    for name, kind in (("own", "face-identity"), ("arcface", "arcface")):
        prepare_pairs(place / name)
        header = place / name / "prepared.json"
        header.write_text(json.dumps({**json.loads(header.read_text()), "identity_encoder": kind}))
    write_nano_base(place / "base")
    torch.manual_seed(0)
    save_tensors(place / "arcface.safetensors", IResNet("iresnet18").state_dict(), {})
    return place


def task(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> FaceXTask:
    monkeypatch.setenv("LIMNER_DATA", str(folder))
    fields = {"base": "base", "model": {"width": 16}, "lpips_weight": 0, **settings}
    return FaceXTask(fields, batch_size=2, seed=0)


def test_arcface_judges_where_arcface_steers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"set task\.identity"):
        task(folder, monkeypatch, data="arcface")
    made = task(folder, monkeypatch, data="arcface", identity="arcface.safetensors")
    start = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    ((name, weight, value),) = made._judge(start, torch.zeros(1, 4, 4, 4))
    assert made._judges is not None and isinstance(made._judges[0], IResNet)
    assert (name, weight) == ("identity", 0.1) and 0 < value.item() < 2
    value.backward()
    assert start.grad is not None and bool(start.grad.any())  # it can be learned from


def test_other_sets_need_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = task(folder, monkeypatch, data="own")
    made._judge(torch.randn(1, 4, 4, 4), torch.zeros(1, 4, 4, 4))
    assert made._judges is not None and isinstance(made._judges[0], IdentityEncoder)
    task(folder, monkeypatch, data="arcface", identity_weight=0)
