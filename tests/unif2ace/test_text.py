"""Batches of plain text: read from files, learnt like a language model's, a tenth of the loss."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional as F

from limner.cli.train import make_task
from limner.data.tensor_shards import TensorShards, finish, write_shard
from limner.errors import InputError
from limner.models.unif2ace.losses import text_loss
from limner.models.unif2ace.prepare_text import main, prepare_text, read_documents
from limner.models.unif2ace.prepared import ABSENT, PreparedConversations, pad_texts
from limner.models.unif2ace.tokenizer import Tokenizer
from limner.models.unif2ace.transformer import UniF2aceTransformer
from unif2ace.tiny import TINY, draw_codes, draw_features, random_model


def test_documents_are_read_from_every_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one line\nand another\n\n\nthe second document\n")
    (tmp_path / "b.jsonl").write_text('{"text": "third"}\n{"text": "fourth"}\n')
    pq.write_table(pa.table({"content": ["fifth", None, "sixth"], "url": ["a", "b", "c"]}), tmp_path / "c.parquet")
    found = [text for name in ("a.txt", "b.jsonl", "c.parquet") for text in read_documents(tmp_path / name)]
    assert found == ["one line and another", "the second document", "third", "fourth", "fifth", "sixth"]
    tokenizer, out = Tokenizer.load(), tmp_path / "out"
    files = [str(tmp_path / name) for name in ("a.txt", "b.jsonl", "c.parquet")]
    main([*files, "--out", str(out), "--length", "6"])
    data = TensorShards.read(out, "text")
    ids = data.column("ids")
    assert ids.shape == (6, 4) and len(data) == 6
    assert tokenizer.decode([i for i in ids[2].tolist() if i != ABSENT]) == "third"
    (tmp_path / "d.jsonl").write_text('{"body": "x"}\n')
    for name, why in (("d.jsonl", "no column content or text, but body"), ("e.csv", "comes as .txt, .jsonl or")):
        with pytest.raises(InputError, match=why):
            list(read_documents(tmp_path / name))
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match="no text"):
        prepare_text([tmp_path / "empty.txt"], tmp_path / "none", tokenizer)


def test_text_is_learnt_causally_and_padding_changes_nothing() -> None:
    model = random_model()
    texts = [[3, 4, 5], [6]]
    alone = []
    for text in texts:
        tokens = torch.tensor([[TINY.sot, *text, TINY.eot]])
        length = tokens.shape[1]
        causal = torch.ones(length, length).tril().bool()[None]
        logits = model.logits(model(tokens, causal, "understand").hidden)[:, :-1, : TINY.text_vocabulary]
        alone.append(F.cross_entropy(logits[0].float(), tokens[0, 1:], reduction="sum"))
    expected = torch.stack(alone).sum() / (4 + 2)  # a mean over tokens, ends among them
    assert torch.allclose(text_loss(model, texts).loss, expected, atol=1e-5)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    tensors = {"codes": draw_codes(4), **draw_features(4), "validation": torch.arange(4) > 2}
    tensors |= {
        name: pad_texts([[[2 + f]] for f in range(4)]) for name in ("captions", "prompts", "questions", "answers")
    }
    tensors |= {"ask_long": torch.tensor([[9]]), "ask_short": torch.tensor([[9]])}
    sizes = {name: TINY.to_dict()[name] for name in ("text_vocabulary", "codebook", "image_tokens", "clip_width")}
    PreparedConversations.write(tmp_path / "set", tensors, {"tokenizer_hash": "one", "model": sizes})
    ids = torch.tensor([[3, 4, 5], [6, ABSENT, ABSENT], [7, 8, ABSENT]], dtype=torch.int32)
    for number, part in enumerate(ids.split(2)):
        write_shard(tmp_path / "text", number, {"ids": part}, len(part), {})
    finish(tmp_path / "text", {"tokenizer_hash": "one"}, [2, 1], {})
    return tmp_path


def task(**settings):
    return make_task(
        {"kind": "unif2ace", "data": "set", "model": TINY.to_dict(), "sample_sheets": False, **settings}, 2, 0
    )


def test_a_batch_has_text_and_its_loss_counts_a_tenth(folder: Path) -> None:
    with_text, without = task(text="text", text_rows=3), task()
    model = without.build()
    assert isinstance(model, UniF2aceTransformer)
    batch, plain = with_text.batch(5), without.batch(5)
    assert all(torch.equal(batch[name], value) for name, value in plain.items())
    assert sorted(batch["plain"][:, 0].tolist()) == [3, 6, 7]
    losses = [t.loss(model, b, torch.Generator().manual_seed(0), 5) for t, b in ((with_text, batch), (without, plain))]
    text = losses[0][1]["text"]
    even = with_text.settings.balance_weight
    routing = text_loss(model, [[3, 4, 5], [6], [7, 8]])
    from limner.models.unif2ace.losses import balance

    expected = losses[1][0] + 0.1 * (text + even * balance(routing.routing))
    assert torch.allclose(losses[0][0], expected, atol=1e-4) and "text" not in losses[1][1]
    header = json.loads((folder / "text" / "prepared.json").read_text())
    (folder / "text" / "prepared.json").write_text(json.dumps({**header, "tokenizer_hash": "two"}))
    with pytest.raises(InputError, match="another tokenizer"):
        task(text="text")
    with pytest.raises(InputError, match="leave one out"):
        task(text="text", train_only="paint")
    assert np.isfinite(float(losses[0][0]))
