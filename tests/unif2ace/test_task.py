"""The losses against plain computation, and training on a handful of faces through the house's own task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from limner.cli.train import make_task
from limner.errors import InputError
from limner.models.unif2ace.losses import answer_loss, balance, paint_loss
from limner.models.unif2ace.prepared import Prepared, pad_texts, unpad
from limner.models.unif2ace.sequence import image_place, omni_mask, paint_sequence, understand_sequence
from limner.models.unif2ace.task import UniF2aceTask
from limner.models.unif2ace.transformer import UniF2aceTransformer
from limner.training.loop import train
from limner.training.recipe import Recipe, TrainSettings
from limner.weights.tensors import load_into, save_tensors
from unif2ace.tiny import TINY, dense, draw_codes, draw_features, random_model

CAPTIONS = [[[2 + f, 3 + f]] * (1 + f % 2) for f in range(6)]
QUESTIONS = [[[10], [11]] for _ in range(6)]
ANSWERS = [[[12 + f % 4], [16, 12 + f // 2]] for f in range(6)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    tensors = {"codes": draw_codes(6), **draw_features(6), "validation": torch.tensor([False] * 5 + [True])}
    words = {"captions": CAPTIONS, "questions": QUESTIONS, "answers": ANSWERS}
    tensors |= {name: pad_texts(texts) for name, texts in words.items()}
    Prepared(tensors, {"tokenizer": "none"}).save(tmp_path / "set.safetensors")
    return tmp_path


def task(**settings) -> UniF2aceTask:
    made = make_task({"kind": "unif2ace", "data": "set.safetensors", "model": TINY.to_dict(), **settings}, 5, 3)
    assert isinstance(made, UniF2aceTask)
    return made


def test_answer_loss_is_the_next_token_of_answers_over_text() -> None:
    model, codes, features = random_model(), draw_codes(2), draw_features(2)
    questions, answers = [[3], [4, 5]], [[7, 8], [9]]
    given = understand_sequence(TINY, codes, questions, answers)
    mask, place = omni_mask(TINY, given.tokens, "understand"), image_place(TINY, "understand")
    out = model(given.tokens, mask, "understand", image=place, mixed=model.mix(**features))
    log_p = torch.log_softmax(model.logits(out.hidden)[..., : TINY.text_vocabulary], -1)
    said = [(0, 13, 7), (0, 14, 8), (0, 15, TINY.eot), (1, 14, 9), (1, 15, TINY.eot)]  # row, state, next token
    expected = -torch.stack([log_p[where] for where in said]).mean()
    found = answer_loss(model, codes, questions, answers, **features)
    assert torch.allclose(found.loss, expected, atol=1e-5)
    assert balance(found.routing) >= 0.9 and balance() == 0


def test_paint_loss_reads_masked_tokens_over_codes() -> None:
    model, codes = random_model(), draw_codes(2)
    masked = torch.rand(codes.shape, generator=torch.Generator().manual_seed(4)) < 0.5
    gamma = torch.tensor([0.5, 0.7])
    tokens = paint_sequence(TINY, [[3], []], codes.masked_fill(masked, TINY.codebook))
    mask, place = omni_mask(TINY, tokens, "paint"), image_place(TINY, "paint")
    out = model(tokens, mask, "paint", image=place, mixed=model.mix(gamma=gamma))
    log_p = torch.log_softmax(model.logits(out.hidden)[:, place, TINY.first_code : TINY.mask_id], -1)
    surprise = F.nll_loss(log_p.transpose(1, 2), codes, reduction="none")
    loss = paint_loss(model, [[3], []], codes, masked, gamma).loss
    assert torch.allclose(loss.mask, surprise[masked].mean(), atol=1e-5)
    weight = torch.pi / 2 * (1 - gamma**2).sqrt() / gamma
    assert torch.allclose(loss.score, (weight[:, None] * surprise * masked).sum(1).mean(), rtol=1e-4)


def test_prepared_sets_keep_texts_and_parts(folder: Path) -> None:
    data = Prepared.open(folder / "set.safetensors")
    assert data.rows(validation=True).tolist() == [5] and data.rows(validation=False).tolist() == [0, 1, 2, 3, 4]
    batch = data.batch(np.array([0, 3]), np.array([1, 3]))
    assert unpad(batch["captions"]) == [CAPTIONS[0][0], CAPTIONS[3][1]]
    assert unpad(batch["questions"]) == [[11], [11]] and unpad(batch["answers"]) == [ANSWERS[0][1], ANSWERS[3][1]]
    assert torch.equal(batch["codes"], draw_codes(6)[[0, 3]]) and batch["clip"].shape == (2, 4, 6)
    save_tensors(folder / "other.safetensors", {"codes": torch.zeros(1)}, {})
    with pytest.raises(InputError, match="no 'clip'"):
        Prepared.open(folder / "other.safetensors")


def test_batches_are_a_function_of_the_step_and_an_epoch_visits_every_face_once(folder: Path) -> None:
    one, other = task(), task()
    for step in (0, 5, 2):
        assert all(torch.equal(a, b) for a, b in zip(one.batch(step).values(), other.batch(step).values()))
    seen = one.batch(7)["codes"]
    assert len({tuple(row) for row in seen.tolist()}) == 5
    assert not torch.equal(seen, one.batch(8)["codes"])


@pytest.mark.parametrize("config", [TINY, dense(), replace(TINY, shared_experts=2)])
def test_it_learns_a_few_faces_by_heart_and_every_parameter_learns(folder: Path, config) -> None:
    t = task(model=config.to_dict())
    model = t.build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    answers, masks = [], []
    moved: set[str] = set()
    for step in range(90):
        generator = torch.Generator().manual_seed(step)
        loss, parts = t.loss(model, t.batch(step), generator, step)
        optimizer.zero_grad()
        loss.backward()
        moved |= {n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        answers.append(float(parts["answer"]))
        masks.append(float(parts["mask"]))
    assert np.mean(answers[-10:]) < 0.4 * np.mean(answers[:5]) and np.mean(masks[-15:]) < 0.8 * np.mean(masks[:5])
    assert {name for name, _ in model.named_parameters()} - moved == set()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_house_s_loop_trains_it_in_bfloat16(folder: Path, optimizer: str) -> None:
    settings = {"steps": 3, "batch_size": 5, "optimizer": optimizer, "device": "cpu", "threads": 1, "warmup": 0}
    recipe = Recipe(name="tiny", task={}, train=TrainSettings(**settings, log_every=1))  # type: ignore[arg-type]
    lines: list[dict] = []
    train(task(), recipe, folder / "run", report=lines.append)
    losses = [line["answer"] for line in lines if line["kind"] == "train"]
    assert len(losses) == 3 and losses[2] < losses[0]
    plain = task()
    step = torch.Generator().manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        half, _ = plain.loss(plain.build(), plain.batch(0), step.manual_seed(0), 0)
    whole, _ = plain.loss(plain.build(), plain.batch(0), step.manual_seed(0), 0)
    assert torch.allclose(half, whole, rtol=0.02)


def test_validation_and_export(folder: Path) -> None:
    t = task()
    model = t.build()
    with torch.no_grad():
        first = t.validate(model)
        assert first == t.validate(model) and t.samples(model) is None
    assert set(first) == {"answer", "mask", "score", "balance", "paint.busiest", "understand.busiest"}
    t.export(model, folder / "w.safetensors", {"step": "1"})
    again = UniF2aceTransformer(t.config)
    header = load_into(again, folder / "w.safetensors")
    assert header["model"] == t.config.to_dict() and header["step"] == "1"
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(again.parameters(), model.parameters()))


def test_sample_sheets_go_through_the_codec(folder: Path) -> None:
    import json

    from limner.codecs.discrete import LFQCodec, LFQConfig

    config = LFQConfig(bits=4, width=2, encoder_widths=(1, 1), encoder_blocks=(1, 1), decoder_widths=(1, 1),
                       decoder_blocks=(1, 1), groups=1)  # fmt: skip
    (folder / "codec").mkdir()
    save_tensors(folder / "codec" / "model.safetensors", LFQCodec(config).state_dict(), {})
    (folder / "codec" / "config.json").write_text(json.dumps({"lfq": config.to_dict()}))
    t = task(codec=str(folder / "codec"), sample_steps=2)
    sheet = t.samples(t.build())
    assert sheet is not None and sheet.shape == (2 * 6, 6, 3) and sheet.dtype == np.uint8
