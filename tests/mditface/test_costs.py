"""What the cache saves, counted: the bars, the closed form, and the documented table."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from limner.models.mditface.config import NANO

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def flops() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mditface_flops", ROOT / "benchmarks" / "mditface_flops.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nano_keeps_its_bars_and_the_closed_form(flops: ModuleType) -> None:
    row = flops.measure(NANO, 256, 32, 56, flops.NANO_KEEP, "similar")
    reduction = row["reduction"]
    assert reduction["cached"] >= 0.94 and reduction["merged"] >= 0.97
    d, dynamic, mask, evaluations = NANO.width, 32 + 64, 64, 56  # R = 1 - (D + S / T) / F, per 2 d N_m
    full, static = 6 * d + 2 * dynamic + mask, 6 * d + mask
    assert reduction["cached"] == pytest.approx(1 - (dynamic + static / evaluations) / full, abs=3e-3)


def test_stored_results_are_what_is_counted_now(flops: ModuleType) -> None:
    stored = json.loads((ROOT / "results" / "mditface-flops.json").read_text())["figures"]["rows"]
    assert stored[0] == {"model": "nano", "pictures": 1, **flops.measure(NANO, 256, 32, 56, flops.NANO_KEEP, "similar")}
    at_512 = next(row for row in stored if row["pixels"] == 512 and row["text tokens"] == 512)
    assert at_512["reduction"]["cached"] >= 0.90 and at_512["reduction"]["merged"] >= 0.95
    # where the paper's 94 % is reached exactly, as docs/mditface.md says
    for pixels, pictures in ((256, 1), (512, 4)):
        row = next(r for r in stored if (r["pixels"], r["text tokens"], r["pictures"]) == (pixels, 64, pictures))
        assert row["model"] == "FLUX.1-dev" and row["reduction"]["cached"] >= 0.94


def test_documented_table_is_the_stored_one(flops: ModuleType) -> None:
    stored = json.loads((ROOT / "results" / "mditface-flops.json").read_text())["figures"]["rows"]
    text = (ROOT / "docs" / "mditface.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- flops -->")[2].partition("<!-- end -->")[0].strip()
    assert shown == flops.markdown(stored)
