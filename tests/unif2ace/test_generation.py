"""Cached decoding is plain decoding, a batch answers as each would alone, and a cache is a value."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from limner.errors import InputError
from limner.models.unif2ace.generation import (
    MOST,
    DialogState,
    SamplingParams,
    answer,
    converse,
    likelihood,
    read_pictures,
    sample_tokens,
)
from limner.models.unif2ace.kv_cache import KVCache
from limner.models.unif2ace.sequence import image_place, omni_mask, text_ids, understand_sequence
from limner.models.unif2ace.token_decoder import TokenDecoder
from limner.models.unif2ace.transformer import UniF2aceTransformer
from unif2ace.tiny import TINY, dense, draw_codes, draw_features, random_model

QUESTIONS = [[3], [4, 5, 6, 7, 8], [9, 10], [11, 12, 13]]
DRAWN = SamplingParams(temperature=1.5, top_k=12, top_p=0.95)


@torch.no_grad()
def plainly(model: UniF2aceTransformer, row: int, limit: int, sampling: SamplingParams, seed: int) -> list[int]:
    """One picture, one question: the whole sequence read again for every token, all logits computed."""
    config, said = model.config, []
    codes = draw_codes(4)[row : row + 1]
    features = {name: f[row : row + 1] for name, f in draw_features(4).items()}
    generator = torch.Generator().manual_seed(seed + row)
    while len(said) < limit:
        tokens = understand_sequence(config, codes, [[*QUESTIONS[row], *said]]).tokens
        mask = omni_mask(config, tokens, "understand")
        place = image_place(config, "understand")
        hidden = model(tokens, mask, "understand", image=place, mixed=model.mix(**features)).hidden
        logits = model.logits(hidden)[:, -1, text_ids(config)]
        logits[
            0, [token for token in range(logits.shape[1]) if twice([*said, token], sampling.no_repeat_ngram_size)]
        ] = -torch.inf
        p = sampling.probabilities(logits)
        gumbel = -torch.log(-torch.log(torch.rand(p.shape[1], generator=generator)))
        token = int((p[0].log() + gumbel).argmax())
        if token == config.eot:
            break
        said.append(token)
    return said


def twice(said: list[int], n: int) -> bool:
    """Whether any ``n`` tokens in a row are said twice; never for n = 0."""
    rows = [tuple(said[k : k + n]) for k in range(len(said) - n + 1)] if n else []
    return len(set(rows)) < len(rows)


def pictures(model: UniF2aceTransformer) -> KVCache:
    return read_pictures(model, draw_codes(4), model.mix(**draw_features(4)))


def test_the_likelihood_of_an_answer_is_that_of_its_tokens_one_after_another() -> None:
    model, said = random_model(), [7, 8, 16]
    found = likelihood(model, pictures(model), QUESTIONS[1], said)
    for row in range(4):
        features = {name: f[row : row + 1] for name, f in draw_features(4).items()}
        log_p = []
        for count, token in enumerate(said):
            prompt = [*QUESTIONS[1], *said[:count]]
            tokens = understand_sequence(TINY, draw_codes(4)[row : row + 1], [prompt]).tokens
            place, mask = image_place(TINY, "understand"), omni_mask(TINY, tokens, "understand")
            hidden = model(tokens, mask, "understand", image=place, mixed=model.mix(**features)).hidden
            log_p.append(torch.log_softmax(model.logits(hidden)[0, -1, text_ids(TINY)], -1)[token])
        assert torch.allclose(found[row], torch.stack(log_p).mean(), atol=1e-5)


@pytest.mark.parametrize("config", [TINY, dense()])
@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(),
        DRAWN,
        SamplingParams(no_repeat_ngram_size=0),
        SamplingParams(no_repeat_ngram_size=1),
        SamplingParams(no_repeat_ngram_size=2),
    ],
)
def test_cached_and_batched_is_plain_and_single(config, sampling: SamplingParams) -> None:
    model = random_model(config)
    found = answer(model, pictures(model), QUESTIONS, limit=12, sampling=sampling, seed=5)
    assert found == [plainly(model, row, 12, sampling, 5) for row in range(4)]
    assert max(len(said) for said in found) > 2 and len({tuple(said) for said in found}) > 1


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_no_tokens_in_a_row_are_said_twice(n: int) -> None:
    model = random_model()
    model.head.bias[TINY.eot] = -99
    limit = 19 if n == 1 else 40  # of twenty words, one of them eot, none twice
    for sampling in (SamplingParams(no_repeat_ngram_size=n), SamplingParams(no_repeat_ngram_size=n, temperature=0.3)):
        found = answer(model, pictures(model), QUESTIONS, limit=limit, sampling=sampling)
        assert all(len(said) == limit and not twice(said, n) for said in found)
        assert any(twice(said, n - 1) for said in found) or n == 1
    assert any(
        twice(said, n)
        for said in answer(model, pictures(model), QUESTIONS, limit, SamplingParams(no_repeat_ngram_size=0))
    )


def test_answers_are_long_enough_to_outgrow_the_spare_room() -> None:
    model = random_model()
    model.head.bias[TINY.eot] = -99
    found = answer(model, pictures(model), QUESTIONS, limit=80, sampling=DRAWN, seed=5)
    assert [len(said) for said in found] == [80] * 4
    assert found[2] == plainly(model, 2, 80, DRAWN, 5)


def test_answers_end_at_end_of_text_and_stream_as_they_are_made() -> None:
    model = random_model()
    model.head.bias[TINY.eot] = 2  # likely, so that answers end at different lengths
    stream: list[list[int]] = []
    found = answer(model, pictures(model), QUESTIONS, 40, DRAWN, 1, lambda n, tokens: stream.append(tokens.tolist()))
    assert len({len(said) for said in found}) > 1 and all(TINY.eot not in said for said in found)
    for row, said in enumerate(found):
        column = [tokens[row] for tokens in stream]
        assert column[: len(said)] == said and set(column[len(said) :]) <= {TINY.eot}

    def stop(count: int, tokens: torch.Tensor) -> None:
        if count == 2:
            raise KeyboardInterrupt

    model.head.bias[TINY.eot] = -99
    with pytest.raises(KeyboardInterrupt):
        answer(model, pictures(model), QUESTIONS, 40, callback=stop)


def test_a_picture_is_read_once_and_asked_many_times() -> None:
    model = random_model()
    read = pictures(model)
    before = [tensor.clone() for layer in range(TINY.layers) for tensor in read.layer(layer)]
    first = answer(model, read, QUESTIONS, 12)
    answer(model, read, QUESTIONS[::-1], 12)
    assert answer(model, read, QUESTIONS, 12) == first
    after = [tensor for layer in range(TINY.layers) for tensor in read.layer(layer)]
    assert all(torch.equal(a, b) for a, b in zip(before, after))
    same = answer(model, read.rows(torch.tensor([2, 2])), [QUESTIONS[2], QUESTIONS[0]], 12)
    assert same[0] == first[2]


def test_two_goings_on_from_one_cache_do_not_meet() -> None:
    """The copy on write: both share memory with their beginning, and neither sees the other's tokens."""
    model = random_model()
    begun = model(torch.tensor([[3]] * 4), None, "understand", past=pictures(model)).cache
    assert begun is not None
    ends = [model(torch.tensor([[t]] * 4), None, "understand", past=begun) for t in (4, 5)]
    again = model(torch.tensor([[4]] * 4), None, "understand", past=begun)
    assert torch.equal(again.hidden, ends[0].hidden) and not torch.equal(ends[0].hidden, ends[1].hidden)
    one, other = (end.cache for end in ends)
    assert one is not None and other is not None and one.length == other.length == begun.length + 1
    assert torch.equal(one.layer(0)[0][:, :, :-1], other.layer(0)[0][:, :, :-1])
    assert not torch.equal(one.layer(0)[0], other.layer(0)[0])


def test_caches_refuse_the_wrong_partner() -> None:
    model = random_model()
    read = pictures(model)
    with pytest.raises(InputError, match="another model"):
        answer(random_model(dense()), read, QUESTIONS, 2)
    with pytest.raises(InputError, match="4 rows"):
        answer(model, read, QUESTIONS[:2], 2)
    with pytest.raises(InputError, match="not paint"):
        model(torch.tensor([[3]] * 4), None, "paint", past=read)


@pytest.mark.parametrize("sampling", [SamplingParams(), DRAWN])
def test_a_conversation_is_gone_on_with_as_if_it_were_read_again(sampling: SamplingParams, monkeypatch) -> None:
    """Rows ask and answer at different lengths, some up to the limit; three turns, of which none is read twice."""
    model = random_model()
    model.head.bias[TINY.eot] = 2
    state, before = DialogState.of(pictures(model)), [[] for _ in QUESTIONS]
    scores: list[list[torch.Tensor]] = [[], []]
    logits = model.logits
    for turn, asked in enumerate((QUESTIONS, QUESTIONS[::-1], QUESTIONS)):
        found = []
        for way, (start, questions) in enumerate((
            (state, asked), (DialogState.of(pictures(model)), [[*b, *q] for b, q in zip(before, asked)])
        )):  # fmt: skip
            monkeypatch.setattr(
                model, "logits", lambda *given, way=way: scores[way].append(logits(*given)) or scores[way][-1]
            )
            found.append(converse(model, start, questions, 8, sampling, seed=turn))
        (said, state), (again, _) = found
        assert said == again and len({len(one) for one in said}) > 1
        before = [[*b, *q, *s, TINY.eot, TINY.sot] for b, q, s in zip(before, asked, said)]
        assert state.lengths() == [pictures(model).length + len(b) for b in before]
        assert [[TINY.sot, *b[:-1]][-len(u) :] for b, u in zip(before, state.unread)] == state.unread
        assert max(len(unread) for unread in state.unread) <= 2
    assert len(scores[0]) == len(scores[1]) > 15
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(*scores))


def test_a_conversation_ends_at_its_limit(monkeypatch) -> None:
    model = random_model()
    monkeypatch.setattr("limner.models.unif2ace.generation.MOST", 40)
    state, turns = DialogState.of(pictures(model)), 0
    with pytest.raises(InputError, match=r"has grown to 4\d tokens of at most 40: begin a new one"):
        while turns < 20:
            _, state = converse(model, state, QUESTIONS, 3)
            turns += 1
    assert 1 < turns < 10 and MOST == 2048


def test_words_are_drawn_by_their_chances_and_what_has_none_never_is() -> None:
    p = torch.tensor([0.5, 0.0, 0.2, 0.3])
    u = torch.rand(20_000, 4, generator=torch.Generator().manual_seed(0))
    found = sample_tokens(p.expand(20_000, 4), u)
    assert torch.allclose(found.bincount(minlength=4) / 20_000, p, atol=0.012) and not (found == 1).any()
    assert sample_tokens(torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2)).item() == 1


def test_every_row_draws_from_its_own_seed_in_any_batch() -> None:
    model = random_model()
    found = answer(model, pictures(model), QUESTIONS, 12, DRAWN, seed=[9, 4, 9, 5])
    for row, seed in enumerate((9, 4, 9, 5)):
        alone = answer(model, pictures(model).rows(torch.tensor([row])), [QUESTIONS[row]], 12, DRAWN, seed)
        assert alone == [found[row]]


def test_logits_of_some_ids_are_those_of_all() -> None:
    model = random_model()
    hidden = torch.randn(3, TINY.width)
    assert torch.allclose(model.logits(hidden, text_ids(TINY)), model.logits(hidden)[:, :20], atol=1e-6)


def test_what_can_be_drawn() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.4, 0.2, 0.3]]))
    assert SamplingParams().probabilities(logits).tolist() == [[0, 1, 0, 0]]
    for sampling, expected in (
        (SamplingParams(temperature=1.0), [0.1, 0.4, 0.2, 0.3]),
        (SamplingParams(temperature=1.0, top_k=2), [0, 4 / 7, 0, 3 / 7]),
        (SamplingParams(temperature=1.0, top_p=0.65), [0, 4 / 7, 0, 3 / 7]),
        (SamplingParams(temperature=1.0, top_p=0.75), [0, 4 / 9, 2 / 9, 3 / 9]),
        (SamplingParams(temperature=1.0, top_p=1e-6), [0, 1, 0, 0]),
        (SamplingParams(temperature=0.5), [0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3]),
    ):
        assert torch.allclose(sampling.probabilities(logits)[0], torch.tensor(expected).float(), atol=1e-6)
    for field, value in (("temperature", -1.0), ("top_k", 0), ("top_p", 0.0), ("no_repeat_ngram_size", -1)):
        with pytest.raises(ValueError, match=field):
            SamplingParams(**{field: value})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("config", [TINY, dense(), replace(TINY, shared_experts=2, qk_norm=False, gelu="tanh")])
@pytest.mark.parametrize("rows", [[0], [3], [1, 2]])
def test_the_decoder_answers_as_the_model(config, rows: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one row, and of two questions of different lengths; the model reads no more than the questions."""
    model = random_model(config)
    decoder, cache = TokenDecoder(model, torch.float32), pictures(model).rows(torch.tensor(rows))
    asked = [QUESTIONS[row] for row in rows]
    expected = [
        answer(model, cache, asked, limit=70, sampling=sampling, seed=5) for sampling in (SamplingParams(), DRAWN)
    ]
    read: list[int] = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda *given, **more: read.append(1) or forward(*given, **more))
    found = [answer(model, cache, asked, 70, sampling, 5, decoder=decoder) for sampling in (SamplingParams(), DRAWN)]
    assert found == expected and len(read) == 2


def test_the_decoder_in_half_precision_is_near_and_leaves_many_rows_alone() -> None:
    model = random_model()
    cache, seen = pictures(model).rows(torch.tensor([0])), torch.ones(1, 13, dtype=torch.bool)
    token, place = torch.tensor([3]), torch.tensor([12])
    exact, near = (
        TokenDecoder(model, dtype).step(token, seen, place, cache)[0] for dtype in (torch.float32, torch.float16)
    )
    assert torch.allclose(exact, near, atol=2e-2, rtol=0) and not torch.equal(exact, near)
    out = model(token[:, None], None, "understand", past=cache)
    assert torch.allclose(exact, model.logits(out.hidden[:, 0], text_ids(TINY)), atol=1e-5)
    assert TokenDecoder.suits(model, 2) and not TokenDecoder.suits(model, 3)
    assert not TokenDecoder.suits(random_model().bfloat16(), 1)
