"""Words read once: the same logits and the same pictures as reading the whole sequence at every step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from limner.errors import InputError
from limner.models.unif2ace.guidance import encode_prompt, guided_logits, image_mask
from limner.models.unif2ace.kv_cache import KVCache
from limner.models.unif2ace.sequence import (
    code_ids,
    image_place,
    image_segment,
    omni_mask,
    paint_sequence,
    prefix_length,
)
from limner.models.unif2ace.transformer import UniF2aceTransformer
from limner.models.unif2ace.unmasking import SAMPLERS, all_masked, sampler
from unif2ace.tiny import TINY, dense, draw_codes, random_model

TEXTS = [[3, 4], [5, 6, 7, 8, 9], [6]]


def plain(model: UniF2aceTransformer, texts: list[list[int]], guidance: float = 0.0):
    """The whole sequence at every step, all logits, sliced at the end; both branches of guidance apart."""

    def branch(words: list[list[int]], codes: Tensor, gamma: float) -> Tensor:
        tokens = paint_sequence(model.config, words, codes)
        mixed = model.mix(gamma=torch.full((len(codes),), gamma))
        place = image_place(model.config, "paint")
        hidden = model(tokens, omni_mask(model.config, tokens, "paint"), "paint", image=place, mixed=mixed).hidden
        return model.logits(hidden)[:, place, code_ids(model.config)]

    def predict(codes: Tensor, gamma: float) -> Tensor:
        one = branch(texts, codes, gamma)
        if guidance != 0:
            one = (1 + guidance) * one - guidance * branch([[]] * len(codes), codes, gamma)
        return one[codes == TINY.codebook]

    return predict


@pytest.mark.parametrize("config", [TINY, dense()])
@pytest.mark.parametrize("guidance", [0.0, 3.0])
@pytest.mark.parametrize("texts", [TEXTS, [[3, 4], [5], [6]]])
def test_cached_words_give_the_plain_logits(config, guidance: float, texts: list[list[int]], monkeypatch) -> None:
    """Also where no text fills its place: what no row sees is left out, and the others stay where they were."""
    model, kept = random_model(config), []
    trimmed = KVCache.without_first
    monkeypatch.setattr(KVCache, "without_first", lambda self, n: kept.append(self.length - n) or trimmed(self, n))
    cached = guided_logits(model, encode_prompt(model, texts), encode_prompt(model, [[]]), guidance)
    assert kept == [3 + max(map(len, texts))] and (texts is TEXTS) == (kept[0] == prefix_length(config))
    for masked, gamma in ((1.0, 1.0), (0.5, 0.6), (0.1, 0.2)):
        codes = draw_codes(3, seed=int(10 * gamma), masked=masked)
        expected = plain(model, texts, guidance)(codes, gamma)
        found = cached(codes, gamma)
        assert found.shape == (int((codes == 16).sum()), 16) and expected.std() > 0.1
        assert torch.allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_cached_words_paint_the_plain_pictures(name: str) -> None:
    model = random_model()
    start = all_masked(3, TINY.image_tokens, TINY.codebook)
    cached = guided_logits(model, encode_prompt(model, TEXTS), encode_prompt(model, [[]]), 2.0)
    found = sampler(name)(cached, start, 5, 7, None)
    assert torch.equal(found, sampler(name)(plain(model, TEXTS, 2.0), start, 5, 7, None))
    assert found.max() < TINY.codebook and len({tuple(row) for row in found.tolist()}) == 3


@pytest.mark.parametrize("config", [TINY, dense()])
def test_tokens_after_several_beginnings_are_what_they_are_after_each(config) -> None:
    model, codes = random_model(config), draw_codes(2, masked=0.5)
    words, place = encode_prompt(model, [[3, 4], [5], [6, 7], [8]]), slice(1, 1 + config.image_tokens)
    tokens = image_segment(config, codes)
    mask, mixed = image_mask(config, words.padding), model.mix(gamma=torch.full((4,), 0.5))
    given = {"image": place, "mixed": mixed, "past": words.cache}
    with torch.no_grad():
        once = model(tokens, mask, "paint", copies=2, **given)
        each = model(tokens.repeat(2, 1), mask, "paint", **given)
    assert torch.allclose(once.hidden, each.hidden, atol=1e-5) and once.hidden.shape[0] == 4
    assert not torch.allclose(once.hidden[:2], once.hidden[2:], atol=1e-3)
    for layer in range(config.layers):
        assert torch.allclose(once.cache.layer(layer)[0], each.cache.layer(layer)[0], atol=1e-5)
    with pytest.raises(InputError, match="4 rows"):
        model(tokens, mask, "paint", **given)


def test_a_picture_does_not_depend_on_its_batch_and_words_are_a_value() -> None:
    model = random_model()
    words, empty = encode_prompt(model, TEXTS), encode_prompt(model, [[]])
    start = all_masked(3, TINY.image_tokens, TINY.codebook)
    three = sampler("confidence")(guided_logits(model, words, empty, 2.0), start, 4, 7, None)
    alone = guided_logits(model, words.rows(torch.tensor([1])), empty, 2.0)
    assert torch.equal(sampler("confidence")(alone, start[:1], 4, 8, None), three[1:2])
    again = sampler("confidence")(guided_logits(model, words, empty, 2.0), start, 4, 7, None)
    assert torch.equal(again, three)  # nothing was left behind in the cache


def test_words_and_mask_ratio_matter_and_padding_does_not() -> None:
    model = random_model()
    codes = draw_codes(1, masked=0.5)
    one, other = (guided_logits(model, encode_prompt(model, [text]))(codes, 0.5) for text in ([3, 4], [3, 5]))
    assert not torch.allclose(one, other, atol=1e-3)
    seen = [guided_logits(model, encode_prompt(model, [[3, 4]] * 8))(codes.repeat(8, 1), g) for g in (0.5, 0.2)]
    assert torch.allclose(seen[0].view(8, -1, 16)[0], one, atol=1e-5)
    with torch.no_grad():
        model.embed.weight[TINY.special("pad")] += 5
    assert torch.equal(guided_logits(model, encode_prompt(model, [[3, 4]]))(codes, 0.5), one)


def test_the_words_of_another_model_are_refused() -> None:
    words = encode_prompt(random_model(), TEXTS)
    with pytest.raises(InputError, match="another model"):
        guided_logits(random_model(dense()), words)(draw_codes(3), 0.5)
    with pytest.raises(InputError, match="3 rows"):
        guided_logits(random_model(), words)(draw_codes(2), 0.5)
