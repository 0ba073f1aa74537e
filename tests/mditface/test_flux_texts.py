"""Words of FLUX.1 in training: encoded as sampling encodes them, at the published lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from limner.data.shards import FIELDS, write_shard
from limner.errors import InputError
from limner.faces.picture import encode_png
from limner.models.mditface.engine import MDiTFace
from limner.models.mditface.prepare import main as prepare
from limner.models.mditface.task import MDiTFaceTask
from mditface.parts import write_flux

CAPTIONS = ("a smiling woman", "a man " * 300)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny FLUX.1-dev and schnell, and a set of three faces with captions of their own, prepared for each."""
    root = tmp_path_factory.mktemp("flux")
    found = {"dev": write_flux(root / "dev"), "schnell": write_flux(root / "schnell", guidance=False)}
    rows = []
    for k in range(3):
        picture = np.random.default_rng(k).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        row = {**dict.fromkeys(name for name, _ in FIELDS), "id": str(k), "attributes": []}
        row |= {"captions": [*CAPTIONS, "the grammar's"], "prompts": ["a prompt of the grammar"], "questions": []}
        row["stated"] = [{"style": style, "facts": "{}"} for style in ("carried", "carried", "plain", "short")]
        row["image"] = {"bytes": encode_png(picture), "path": None}
        row["regions"] = {"bytes": encode_png(np.zeros((64, 64), np.uint8)), "path": None}
        rows.append({**row, "split": "validation" if k == 2 else "train"})
    for split in ("train", "validation"):
        write_shard(root / "set" / "data" / f"{split}-00000.parquet", [r for r in rows if r["split"] == split], {})
    (root / "set" / "manifest.json").write_text("{}")
    for kind in ("dev", "schnell"):
        command = [str(root / "set"), "--flux", str(found[kind]), "--size", "64", "--texts", "carried"]
        prepare([*command, "--captions", "2", "--no-mirror", "--device", "cpu", "--out", str(root / f"for-{kind}")])
    with pytest.raises(
        InputError, match="pictures of 64 pixels are not enlarged to 512: build the set with --size 512"
    ):
        prepare([str(root / "set"), "--flux", str(found["dev"]), "--out", str(root / "large")])
    return {**found, "root": root}


@pytest.mark.parametrize(("kind", "length"), [("dev", 512), ("schnell", 256)])
def test_training_reads_what_sampling_reads(folders: dict[str, Path], kind: str, length: int) -> None:
    root = folders["root"]
    quiet = {"drop_text": 0, "drop_mask": 0, "drop_both": 0, "base_precision": "fp32"}
    task = MDiTFaceTask({"data": str(root / f"for-{kind}"), "flux": str(folders[kind]), **quiet}, 2, 0)
    batch = task.batch(0)
    assert "tokens" not in batch and batch["words"].dtype == torch.uint8
    found = task.with_features(batch)
    assert found["tokens"].shape[:2] == (2, length) and "words" not in found
    painter = MDiTFace.load(folders[kind], device="cpu", precision="fp32")
    for row, words in enumerate(bytes(w[w != 0].tolist()).decode() for w in batch["words"]):
        assert words in CAPTIONS
        expected = painter.components.encoder.encode([words], painter.components.model.config.text_length)
        assert torch.allclose(found["tokens"][row], expected.tokens[0], atol=1e-5)
        assert torch.allclose(found["pooled"][row], expected.pooled[0], atol=1e-5)
        assert torch.equal(found["keep"][row], expected.mask[0])
    model = task.build().to_empty(device="cpu")
    task.fill(model)  # type: ignore[arg-type]
    loss, _ = task.loss(model, batch, torch.Generator().manual_seed(0), 0)
    assert torch.isfinite(loss)
    header = task.data.header
    assert header["live"] and header["text_length"] == length and header["size"] == 64
    stored = sum(file.stat().st_size for file in (root / f"for-{kind}" / "shards").glob("*"))
    assert stored < 200_000, "words, not features: 512 tokens of T5-XXL would be 4.2 MB a caption"
