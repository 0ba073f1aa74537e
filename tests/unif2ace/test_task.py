"""The losses against plain computation, and training on a handful of faces through the house's own task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from limner.cli.train import make_task
from limner.codecs.discrete import LFQCodec
from limner.codecs.magvit2 import LFQConfig
from limner.errors import InputError
from limner.models.unif2ace import task as room
from limner.models.unif2ace.code_bits import BitDirections, folded_weights
from limner.models.unif2ace.config import GROUPS, Group
from limner.models.unif2ace.losses import (
    FOILS_FROM,
    SHARPNESS,
    answer_loss,
    balance,
    conversation_loss,
    foil_loss,
    paint_loss,
)
from limner.models.unif2ace.prepared import ABSENT, FOILS, TEXTS, PreparedConversations, pad_texts, unpad, unpad_turns
from limner.models.unif2ace.sequence import (
    image_place,
    leading_padding,
    omni_mask,
    paint_sequence,
    understand_sequence,
)
from limner.models.unif2ace.task import UniF2aceTask
from limner.models.unif2ace.transformer import UniF2aceTransformer
from limner.training.config import TrainingConfig, TrainSettings
from limner.training.loop import train
from limner.weights.tensors import load_into, load_tensors, save_tensors
from unif2ace.tiny import TINY, dense, draw_codes, draw_features, random_model

CAPTIONS = [[[2 + f, 3 + f, 4]] * (1 + f % 2) for f in range(6)]
PROMPTS = [[[2 + f], [3 + f, 5]] for f in range(6)]
QUESTIONS = [[[10], [11]] for _ in range(6)]
SIZES = {name: TINY.to_dict()[name] for name in ("text_vocabulary", "codebook", "image_tokens", "clip_width")}
ANSWERS = [[[12 + f % 4], [16, 12 + f // 2]] for f in range(6)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    tensors = {"codes": draw_codes(6), **draw_features(6), "validation": torch.tensor([False] * 5 + [True])}
    words = {"captions": CAPTIONS, "prompts": PROMPTS, "questions": QUESTIONS, "answers": ANSWERS}
    tensors |= {name: pad_texts(texts) for name, texts in words.items()}
    tensors |= {"ask_long": torch.tensor([[17, 18]]), "ask_short": torch.tensor([[19, ABSENT]])}
    PreparedConversations.write(tmp_path / "set", tensors, {"tokenizer": "none", "model": SIZES})
    return tmp_path


def read_set(place: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """All tensors of a small set, and its header."""
    data = PreparedConversations.open(place)
    everything, names = np.arange(len(data.stored)), (*TEXTS, *FOILS)
    tensors = {name: data.texts(name, everything) if name in names else data.stored.column(name) for name in data.names}
    requests = {name: torch.from_numpy(data.stored.index[name]) for name in ("ask_long", "ask_short")}
    return tensors | requests, {name: data.header[name] for name in ("tokenizer", "model")}


def task(**settings) -> UniF2aceTask:
    made = make_task(
        {"kind": "unif2ace", "data": "set", "model": TINY.to_dict(), "sample_sheets": False, **settings}, 5, 3
    )
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
    data = PreparedConversations.open(folder / "set")
    assert data.rows(validation=True).tolist() == [5] and data.rows(validation=False).tolist() == [0, 1, 2, 3, 4]
    rows = np.array([0, 3])
    short = [data.batch(rows, np.random.default_rng(k), long=False, turns=2) for k in range(40)]
    for batch in short:
        assert torch.equal(batch["codes"], draw_codes(6)[[0, 3]]) and batch["clip"].shape == (2, 4, 6)
        assert all(text in PROMPTS[row] for row, text in zip(rows, unpad(batch["texts"])))
        assert batch["texts"].shape[1] == max(len(text) for text in unpad(batch["texts"]))  # no column for nothing
    drawn = [turn for batch in short for turn in unpad_turns(batch["questions"], batch["answers"])[1]]
    asked = {question[0] for question, _ in drawn}
    assert asked == {10, 11, 19}, "questions of the face, and the request for a sentence"
    for question, answer in drawn:
        assert answer in PROMPTS[3] if question == [19] else answer == ANSWERS[3][question[0] - 10]
    long = data.batch(rows, np.random.default_rng(0), long=True, turns=2)
    for row, text, talk in zip(rows, unpad(long["texts"]), unpad_turns(long["questions"], long["answers"])):
        assert text in CAPTIONS[row] and len(talk) == 2
        ((_, described),) = [turn for turn in talk if turn[0] == [17, 18]]
        assert described in CAPTIONS[row]
    with pytest.raises(InputError, match="not a prepared set"):
        PreparedConversations.open(folder / "other")


def test_turns_of_a_conversation_are_read_one_after_another() -> None:
    """Its loss is the mean over the tokens of both answers, the second after the first turn."""
    model, codes, features = random_model(), draw_codes(1), draw_features(1)
    first, second = ([3], [7, 8]), ([4, 5], [9])
    together = conversation_loss(model, codes, [[first, second]], features["clip"], features["face"]).loss
    alone = answer_loss(model, codes, [first[0]], [first[1]], **features).loss
    history = [*first[0], *first[1], TINY.eot, TINY.sot, *second[0]]
    after = answer_loss(model, codes, [history], [second[1]], **features).loss
    assert torch.allclose(together, (3 * alone + 2 * after) / 5, atol=1e-5)


def test_turns_apart_are_sequences_of_their_own() -> None:
    model, codes, features = random_model(), draw_codes(2), draw_features(2)
    talks = [[([3], [7, 8]), ([4, 5], [9])], [([6, 4], [9, 9, 8])]]
    together = conversation_loss(model, codes, talks, features["clip"], features["face"], apart=True).loss
    alone = [
        (len(said) + 1, answer_loss(model, codes[[k]], [asked], [said], *(f[[k]] for f in features.values())).loss)
        for k, talk in enumerate(talks)
        for asked, said in talk
    ]
    expected = torch.stack([n * loss for n, loss in alone]).sum() / sum(n for n, _ in alone)
    assert torch.allclose(together, expected, atol=1e-5)
    assert not torch.allclose(
        together, conversation_loss(model, codes, talks, features["clip"], features["face"]).loss, atol=1e-5
    )


def test_leaving_out_padding_changes_nothing() -> None:
    model, codes = random_model(), draw_codes(2)
    masked = torch.rand(codes.shape, generator=torch.Generator().manual_seed(4)) < 0.5
    tokens = paint_sequence(TINY, [[3], [3, 4]], codes)
    assert leading_padding(tokens == TINY.special("pad")) == TINY.text_length + 1 - 5
    gamma = torch.tensor([0.5, 0.7])
    together = paint_loss(model, [[3], [3, 4]], codes, masked, gamma).loss.mask
    with_longer = paint_loss(model, [[3], [3, 4], [3, 4, 5, 6, 7]], codes[[0, 1, 0]],
                             torch.cat([masked, masked[:1] & False]), gamma[[0, 1, 0]]).loss.mask  # fmt: skip
    assert torch.allclose(together, with_longer, atol=1e-5)


def test_batches_are_a_function_of_the_step_and_an_epoch_visits_every_face_once(folder: Path) -> None:
    one, other = task(), task()
    for step in (0, 5, 2):
        assert all(torch.equal(a, b) for a, b in zip(one.batch(step).values(), other.batch(step).values()))
    seen = one.batch(7)["codes"]
    assert len({tuple(row) for row in seen.tolist()}) == 5
    assert not torch.equal(seen, one.batch(8)["codes"])


def test_balanced_paintings_are_drawn_by_weights_and_questions_evenly(folder: Path) -> None:
    with pytest.raises(InputError, match="prepare it again"):
        task(rarity_sampling=True)
    tensors, header = read_set(folder / "set")
    rare = torch.tensor([0.0, 3.0, 0.0, 1.0, 0.0, 9.0])  # the last face is for validation: never painted
    PreparedConversations.write(folder / "weighed", {**tensors, "weights": rare}, header)
    t, plain = task(data="weighed", rarity_sampling=True), task()
    faces = {tuple(row): k for k, row in enumerate(draw_codes(6).tolist())}
    painted = []
    for step in range(60):
        batch = t.batch(step)
        assert torch.equal(batch["codes"], plain.batch(step)["codes"])
        assert torch.equal(batch["painted"], t.batch(step)["painted"])
        rows = [faces[tuple(row)] for row in batch["painted"].tolist()]
        texts = unpad(batch["texts"])
        assert all(text in PROMPTS[row] + CAPTIONS[row] for row, text in zip(rows, texts, strict=True))
        painted += rows
    assert set(painted) == {1, 3} and 0.65 < painted.count(1) / len(painted) < 0.85
    model, generator = t.build(), torch.Generator()
    same = {**batch, "codes": batch["codes"].flip(0)}
    losses = [float(t.loss(model, b, generator.manual_seed(0), 0)[1]["mask"]) for b in (batch, same)]
    assert losses[0] == losses[1], "what is painted is not what is asked about"


def test_foil_loss_compares_how_likely_words_make_a_picture() -> None:
    model, codes = random_model(), draw_codes(2)
    masked = torch.rand(codes.shape, generator=torch.Generator().manual_seed(4)) < 0.7
    gamma = torch.tensor([0.9, 0.95])
    true, foil = [[3], [4, 5]], [[6, 7, 8], [9]]
    likely = []
    for texts in (true, foil):
        one = [paint_loss(model, [text], codes[[k]], masked[[k]], gamma[[k]]).loss.mask for k, text in enumerate(texts)]
        likely.append(-torch.stack(one) * masked.sum(1))
    margin = likely[0] - likely[1]
    loss, told = foil_loss(model, true, foil, codes, masked, gamma)
    assert torch.allclose(loss, -torch.log(torch.sigmoid(SHARPNESS * margin)).mean(), atol=1e-5)
    assert told == (margin > 0).float().mean()
    swapped, other = foil_loss(model, foil, true, codes, masked, gamma)
    assert other == 1 - told and swapped != loss


@pytest.fixture
def foiled(folder: Path) -> Path:
    """The folder's set with foils: of all faces but the second, the first word of a prompt is another's."""
    tensors, header = read_set(folder / "set")
    pairs = [[([2 + f], [2 + (f + 1) % 6]), ([3 + f, 5], [3 + (f + 1) % 6, 5])] if f != 1 else [] for f in range(6)]
    for k, name in enumerate(FOILS):
        tensors[name] = pad_texts([[pair[k] for pair in some] for some in pairs])
    PreparedConversations.write(folder / "foiled", tensors, header)
    return folder


def test_foils_are_of_faces_that_have_some(foiled: Path) -> None:
    with pytest.raises(InputError, match="no foils: prepare it again"):
        task(foil_weight=1.0)
    t, plain = task(data="foiled", foil_weight=1.0, foil_share=0.8), task(data="foiled")
    faces, seen = {tuple(row): k for k, row in enumerate(draw_codes(6).tolist())}, set()
    for step in range(20):
        batch, again, without = t.batch(step), t.batch(step), plain.batch(step)
        assert all(torch.equal(batch[name], again[name]) for name in batch)
        assert all(torch.equal(batch[name], without[name]) for name in without) and "foils" not in without
        rows = [faces[tuple(row)] for row in batch["foiled_codes"].tolist()]
        for row, true, foil in zip(rows, unpad(batch["foiled"]), unpad(batch["foils"]), strict=True):
            assert true in PROMPTS[row] and foil == [true[0] + 1 if row < 5 else true[0] - 5, *true[1:]]
        assert len(rows) == 4
        seen |= set(rows)
    assert seen == {0, 2, 3, 4}  # the second has none, the last is for validation


def test_foils_are_told_where_words_decide_and_drawn_by_weights(foiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, header = read_set(foiled / "foiled")
    rare = torch.tensor([0.0, 9.0, 0.0, 1.0, 0.0, 9.0])  # of those with foils in training, only the fourth
    PreparedConversations.write(foiled / "weighed", {**tensors, "weights": rare}, header)
    t = task(data="weighed", foil_weight=1.0, rarity_sampling=True)
    assert all((t.batch(step)["foiled_codes"] == draw_codes(6)[3]).all() for step in range(10))
    seen = []
    monkeypatch.setattr(room, "foil_loss", lambda *given: (seen.append(given[5]) or torch.zeros(()), torch.zeros(())))
    model = t.build()
    for step in range(30):
        t.loss(model, t.batch(step), torch.Generator().manual_seed(step), step)
    gamma = torch.cat(seen)
    assert gamma.min() >= np.sin(np.pi / 2 * FOILS_FROM) - 1e-6 and gamma.max() > 0.99
    nothing = torch.full_like(tensors["foils"], ABSENT)
    PreparedConversations.write(foiled / "none", {**tensors, "foils": nothing, "foiled": nothing}, header)
    with pytest.raises(InputError, match="no face of none has a foil"):
        task(data="none", foil_weight=1.0)
    tensors["foils"][5] = tensors["foiled"][5] = ABSENT  # the only face of validation
    PreparedConversations.write(foiled / "unseen", tensors, header)
    assert "told" not in task(data="unseen", foil_weight=1.0).validate(model)


def test_words_are_told_from_their_foils_when_that_is_learnt(foiled: Path) -> None:
    t, plain = task(data="foiled", foil_weight=10.0), task(data="foiled")
    model = t.build()
    (total, parts), (without, _) = (
        each.loss(model, t.batch(0), torch.Generator().manual_seed(0), 0) for each in (t, plain)
    )
    assert torch.allclose(total, without + 10 * parts["foil"], atol=1e-4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    said = []
    for step in range(120):
        loss, parts = t.loss(model, t.batch(step), torch.Generator().manual_seed(step), step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        said.append(float(parts["foil"]))
    assert np.mean(said[-10:]) < 0.7 * np.mean(said[:5])
    with torch.no_grad():
        t.held_out = t.train
        found = t.validate(model)
        assert found["told"] >= 0.75 and found["foil"] < 0.6
        sharper = task(data="foiled", foil_weight=10.0, foil_beta=3.0)
        sharper.held_out = t.train
        assert sharper.validate(model)["told"] == found["told"] and sharper.validate(model)["foil"] != found["foil"]
        plain.held_out = np.tile(plain.train, 8)  # in two batches
        t.held_out = plain.held_out
        without, with_foils = plain.validate(model), t.validate(model)
        assert "told" not in without and with_foils["mask"] == without["mask"]


@pytest.mark.parametrize(("only", "shared"), [("paint", 1), ("understand", 1), ("paint", 2), ("understand", 2)])
def test_one_task_learns_and_the_other_stays_bit_for_bit(foiled: Path, only: Group, shared: int) -> None:
    """Through the loop and the written file; the other task's loss is not even asked for."""
    model = replace(TINY, shared_experts=shared).to_dict()
    first = task(model=model).build()
    assert isinstance(first, UniF2aceTransformer)
    save_tensors(foiled / "start.safetensors", folded_weights(first), {}, dtype=torch.float16)
    t = task(
        data="foiled", init_from="start.safetensors", train_only=only, foil_weight=float(only == "paint"), model=model
    )
    settings = {"steps": 4, "batch_size": 5, "optimizer": "muon", "device": "cpu", "threads": 1, "warmup": 0, "ema": 0}
    run_config = TrainingConfig(name="tiny", task={}, train=TrainSettings(**settings, learning_rate=0.02, log_every=1))  # type: ignore[arg-type]
    lines: list[dict] = []
    train(t, run_config, foiled / "run", report=lines.append)
    said = [line for line in lines if line["kind"] == "train"]
    assert len(said) == 4 and all(
        ("answer" in line, "mask" in line) == (only != "paint", only == "paint") for line in said
    )
    assert all(("foil" in line) == (only == "paint") for line in said)
    before, after = (task(init_from=name, model=model) for name in ("start.safetensors", "run/weights.safetensors"))
    losses = []
    for each in (before, after):
        losses.append(each.loss(each.build(), each.batch(0), torch.Generator().manual_seed(1), 0)[1])
    old, new = (load_tensors(foiled / name)[0] for name in ("start.safetensors", "run/weights.safetensors"))
    changed = {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert changed == ({"blocks", "ratio_in", "head"} if only == "paint" else {"blocks", "clip_in", "face_in"})
    feed = {
        name.split(".shared.")[1][0] for name in old if ".shared." in name and not torch.equal(old[name], new[name])
    }
    assert feed == ({"01"[only == "paint"]} if shared == 2 else set())
    learnt, kept = ("mask", "answer") if only == "paint" else ("answer", "mask")
    assert torch.equal(losses[0][kept], losses[1][kept]) and losses[1][learnt] < losses[0][learnt]


def test_one_task_alone_is_refused_where_it_cannot_be(folder: Path) -> None:
    with pytest.raises(InputError, match="needs experts"):
        task(train_only="understand", model=dense().to_dict())
    with pytest.raises(InputError, match="leave one out"):
        task(train_only="paint", fit_features=("clip",))
    with pytest.raises(InputError, match="foils teach painting"):
        task(train_only="understand", foil_weight=1.0)
    task(train_only="understand", model=replace(dense(), shared_experts=2).to_dict())


@pytest.mark.parametrize(
    "config", [TINY, dense(), replace(TINY, shared_experts=2), replace(TINY, learned_positions=True)]
)
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
    with torch.no_grad():
        assert t.validate(model)["looking"] == 0  # one held-out face, shown for itself
        t.held_out = t.train
        assert t.validate(model)["looking"] > 0.1  # the faces' answers differ


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_house_s_loop_trains_it_in_bfloat16(folder: Path, optimizer: str) -> None:
    settings = {"steps": 3, "batch_size": 5, "optimizer": optimizer, "device": "cpu", "threads": 1, "warmup": 0}
    run_config = TrainingConfig(name="tiny", task={}, train=TrainSettings(**settings, log_every=1))  # type: ignore[arg-type]
    lines: list[dict] = []
    train(task(), run_config, folder / "run", report=lines.append)
    losses = [line["answer"] for line in lines if line["kind"] == "train"]
    assert len(losses) == 3 and losses[2] < losses[0]
    plain = task()
    step = torch.Generator().manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        half, _ = plain.loss(plain.build(), plain.batch(0), step.manual_seed(0), 0)
    whole, _ = plain.loss(plain.build(), plain.batch(0), step.manual_seed(0), 0)
    assert torch.allclose(half, whole, rtol=0.02)


def assert_shares(shares: dict[str, float], t: UniF2aceTask, model: torch.nn.Module) -> None:
    """Of both levels, layer by layer and expert by expert: a layer's sum to 1, and they are the routers' own."""
    layers = {name.rpartition(".")[0] for name in shares}
    expected = {f"share.{group}.{level}.{k}" for group in GROUPS for level in ("token", "sequence") for k in range(2)}
    assert layers == expected - {"share.understand.sequence.1"} and len(shares) == 4 * len(layers)
    for layer in layers:
        assert sum(shares[f"{layer}.{expert}"] for expert in range(4)) == pytest.approx(1)
    batch = t.data.batch(t.held_out, np.random.default_rng(0), long=True, turns=4)
    assert isinstance(model, UniF2aceTransformer)
    with torch.no_grad():
        found = t._answers(model, batch, 0)
    for level, routings in (("token", found.routing), ("sequence", found.sequence)):
        for layer, routing in enumerate(routings):
            said = [shares[f"share.understand.{level}.{layer}.{expert}"] for expert in range(4)]
            assert said == pytest.approx(routing.share.tolist())


def test_validation_and_export(folder: Path) -> None:
    t = task()
    model = t.build()
    with torch.no_grad():
        first = t.validate(model)
        assert first == t.validate(model) and t.samples(model) is None
    shares = {name: first.pop(name) for name in list(first) if name.startswith("share.")}
    assert set(first) == {"answer", "mask", "score", "balance", "looking", "paint.busiest", "understand.busiest"}
    assert_shares(shares, t, model)
    t.export(model, folder / "w.safetensors", {"step": "1"})
    again = UniF2aceTransformer(t.config)
    header = load_into(again, folder / "w.safetensors")
    assert header["model"] == t.config.to_dict() and header["step"] == "1"
    tokens = paint_sequence(TINY, [[3]], draw_codes(1))
    with torch.no_grad():
        states = [m(tokens, None, "paint").hidden for m in (again, model)]
    torch.testing.assert_close(*states, atol=1e-3, rtol=0)


def test_codes_with_a_bit_in_common_learn_together(folder: Path) -> None:
    plain, t = task(share_code_bits=False).build(), task()
    model = t.build()
    assert isinstance(model, UniF2aceTransformer) and isinstance(plain, UniF2aceTransformer)
    first = model.embed.weight.detach().clone()
    assert not torch.equal(first, plain.embed.weight) and torch.equal(model.head.weight, plain.head.weight)
    (shared,) = (m for name, m in model.named_modules() if isinstance(m, BitDirections) and name.startswith("embed"))
    with torch.no_grad():
        shared.directions[0] += 1  # the highest bit's: up where it is set
    moved = (model.embed.weight - first)[:, 0]
    codes = moved[TINY.first_code : TINY.mask_id]
    assert torch.allclose(codes, torch.where(torch.arange(16) >= 8, 1.0, -1.0))
    assert moved[: TINY.first_code].count_nonzero() == 0 and moved[TINY.mask_id] == 0
    state = folded_weights(model)
    assert state.keys() == plain.state_dict().keys() and torch.equal(state["embed.weight"], model.embed.weight)
    t.export(model, folder / "start.safetensors", {})
    again = task(init_from="start.safetensors").build()
    assert isinstance(again, UniF2aceTransformer)
    torch.testing.assert_close(again.embed.weight, model.embed.weight, atol=1e-3, rtol=0)


def test_weights_that_learned_from_other_parts_are_refused(folder: Path) -> None:
    first = task()
    first.data.header |= {"codec_hash": "one", "face": "a face network"}
    first.export(first.build(), folder / "start.safetensors", {})
    second = task(init_from="start.safetensors")
    second.data.header |= {"codec_hash": "one", "face": "another"}
    with pytest.raises(InputError, match=r"face 'a face network', .* prepared with 'another': .* fit_features"):
        second.build()
    fitted = task(init_from="start.safetensors", fit_features=["face"])
    fitted.data.header |= second.data.header
    assert isinstance(fitted.build(), UniF2aceTransformer)
    first.data.header["codec"], fitted.data.header["codec"] = "a name", "the same codec's folder"
    first.export(first.build(), folder / "start.safetensors", {})
    fitted.build()  # where a codec lies says nothing about which it is
    fitted.data.header["codec_hash"] = "two"
    with pytest.raises(InputError, match="learned with codec_hash 'one'"):
        fitted.build()


def test_only_a_share_of_the_faces_is_asked_about(folder: Path) -> None:
    few, all_of_them = task(understand_share=0.4), task()
    for t in (few, all_of_them):
        model, batch = t.build(), t.batch(0)
        loss = [t.loss(model, {**batch, "answers": batch["answers"].clone()}, torch.Generator(), 0)[1]["answer"]]
        batch["answers"][2:] = 1  # of five faces, the last three
        loss.append(t.loss(model, batch, torch.Generator(), 0)[1]["answer"])
        assert torch.equal(*loss) == (t is few)


def test_only_a_share_of_the_faces_is_painted(folder: Path) -> None:
    few, all_of_them = task(paint_share=0.4), task()
    for t in (few, all_of_them):
        model, batch = t.build(), t.batch(0)
        loss = [t.loss(model, {**batch, "texts": batch["texts"].clone()}, torch.Generator().manual_seed(1), 0)[1]]
        batch["texts"][2:] = 1  # of five faces, the last three
        loss.append(t.loss(model, batch, torch.Generator().manual_seed(1), 0)[1])
        assert torch.equal(loss[0]["mask"], loss[1]["mask"]) == (t is few)
        assert torch.equal(loss[0]["answer"], loss[1]["answer"])


def test_fitted_resamplers_tell_faces_apart(folder: Path) -> None:
    """What most of the features have in common hides the rest, until they are fitted to them."""
    tensors, header = read_set(folder / "set")
    tensors |= {name: 0.05 * tensors[name] + 3 for name in ("clip", "face")}
    PreparedConversations.write(folder / "set", tensors, header)
    differ = {}
    for fitted in (False, True):
        model = task(fit_features=["clip", "face"] if fitted else []).build()
        assert isinstance(model, UniF2aceTransformer)
        with torch.no_grad():
            mixed = model.mix(**{name: tensors[name].float() for name in ("clip", "face")})
            differ[fitted] = [float(mixed.of(name).std(0).mean()) for name in ("clip", "face")]
            entered = model.face_in.enter(tensors["face"][:5].float())  # type: ignore[union-attr]
        if fitted:
            kept = tensors["face"].shape[-1]
            assert torch.allclose(entered.mean((0, 1)), torch.zeros(entered.shape[-1]), atol=1e-2)
            assert (entered.std((0, 1)) > 0.9).sum() == kept
        levels = [block.sequence.groups["understand"].scale for block in model.blocks[:-1]]  # type: ignore[union-attr]
        assert all(bool((scale == float(fitted)).all()) for scale in levels)
    assert all(after > 3 * before for before, after in zip(differ[False], differ[True]))
    alone, untouched = task(fit_features=["face"]).build(), task().build()
    other = task(fit_features=["clip"]).build()
    assert torch.equal(other.face_in.queries, untouched.face_in.queries)  # type: ignore[union-attr]
    assert not torch.equal(other.clip_in.queries, untouched.clip_in.queries)  # type: ignore[union-attr]
    assert torch.equal(alone.clip_in.queries, untouched.clip_in.queries)  # type: ignore[union-attr]
    assert not torch.equal(alone.face_in.queries, untouched.face_in.queries)  # type: ignore[union-attr]


def test_answers_can_weigh_more(folder: Path) -> None:
    losses = []
    for weight in (1.0, 10.0):
        t = task(answer_weight=weight)
        loss, parts = t.loss(t.build(), t.batch(0), torch.Generator().manual_seed(1), 0)
        losses.append((loss, parts["answer"]))
    (plain, answer), (heavy, same) = losses
    assert torch.equal(answer, same) and torch.allclose(heavy - plain, 9 * answer, rtol=1e-4)


def test_each_group_s_balance_has_its_own_weight(folder: Path) -> None:
    losses = []
    cases: list[dict[str, float]] = [
        {"balance_weight": 2.0},
        {"balance_weight": 2.0, "balance_weight_paint": 0.0},
        {"balance_weight": 0.0},
        {"balance_weight": 0.0, "balance_weight_understand": 2.0},
    ]
    for settings in cases:
        t = task(**settings)
        loss, parts = t.loss(t.build(), t.batch(0), torch.Generator().manual_seed(1), 0)
        losses.append(float(loss.detach()))
    both, understand, none, same = losses
    assert both - none == pytest.approx(2 * float(parts["balance"]), rel=1e-3)
    assert understand == same and none + 1 < understand < both - 1


def test_sample_sheets_go_through_the_codec(folder: Path) -> None:
    config = LFQConfig(bits=4, width=2, encoder_widths=(1, 1), encoder_blocks=(1, 1), decoder_widths=(1, 1),
                       decoder_blocks=(1, 1), groups=1)  # fmt: skip
    LFQCodec(config).save(folder / "codec", {})
    tensors, header = read_set(folder / "set")
    PreparedConversations.write(folder / "set", tensors, header | {"codec": str(folder / "codec")})
    t = task(sample_sheets=True, sample_steps=2)
    sheet = t.samples(t.build())
    assert sheet is not None and sheet.shape == (2 * 6, 6, 3) and sheet.dtype == np.uint8
