"""Layouts and who sees whom: against definitions written down separately, pair by pair."""

from __future__ import annotations

import itertools

import pytest
import torch

from limner.models.unif2ace.config import UniF2aceConfig, preset
from limner.models.unif2ace.sequence import (
    IGNORED,
    code_ids,
    image_place,
    omni_mask,
    paint_sequence,
    question_text,
    text_prefix,
    understand_sequence,
)
from unif2ace.tiny import TINY, draw_codes

TEXTS = [[], [3, 4], [5, 6, 7, 8, 9], [5, 6, 7, 8, 9, 10, 11]]  # empty, short, exactly as long as fits, too long


def roles(config: UniF2aceConfig, row: list[int]) -> list[str]:
    """What each token is, read off the ids alone."""
    named = {config.special(name): name for name in ("pad", "soi", "eoi", "t2i", "mmu")}
    return [named.get(t, "image" if t >= config.first_code else "text") for t in row]


def sees(group: str, role: list[str], i: int, j: int) -> bool:
    """The specification's sentences, for one pair: may row i look at column j?"""
    if role[j] == "pad":
        return role[i] == "pad" and j <= i
    if group == "paint":
        if role[i] in ("soi", "image", "eoi"):
            return True  # all text and all image
        return j <= i  # text (and padding) is causal
    return j <= i or j <= role.index("eoi")  # causal, and everything up to [eoi]


def test_paint_mask_is_its_definition() -> None:
    tokens = paint_sequence(TINY, TEXTS, draw_codes(4, masked=0.5))
    mask = omni_mask(TINY, tokens, "paint")
    for row in range(4):
        role = roles(TINY, tokens[row].tolist())
        for i, j in itertools.product(range(len(role)), repeat=2):
            assert bool(mask[row, i, j]) == sees("paint", role, i, j), (row, i, j)
    assert mask.any(-1).all()  # nobody looks at nothing


def test_understand_mask_is_its_definition() -> None:
    given = understand_sequence(TINY, draw_codes(3), [[3], [4, 5, 6], []], [[7, 8, 9], [7], []])
    mask = omni_mask(TINY, given.tokens, "understand")
    for row in range(3):
        role = roles(TINY, given.tokens[row].tolist())
        for i, j in itertools.product(range(len(role)), repeat=2):
            assert bool(mask[row, i, j]) == sees("understand", role, i, j), (row, i, j)
    assert mask.any(-1).all()


def test_paint_layout() -> None:
    codes = draw_codes(4, masked=0.5)
    tokens = paint_sequence(TINY, TEXTS, codes)
    pad, soi, eoi, t2i = (TINY.special(name) for name in ("pad", "soi", "eoi", "t2i"))
    assert tokens[0, :8].tolist() == [pad] * 5 + [t2i, TINY.sot, TINY.eot]
    assert tokens[1, :8].tolist() == [pad] * 3 + [t2i, TINY.sot, 3, 4, TINY.eot]
    assert tokens[2, :8].tolist() == [t2i, TINY.sot, 5, 6, 7, 8, 9, TINY.eot]
    assert torch.equal(tokens[2, :8], tokens[3, :8])  # cut before [eot]
    assert torch.equal(tokens[:, :8], text_prefix(TINY, TEXTS))
    assert (tokens[:, 8] == soi).all() and (tokens[:, -1] == eoi).all()
    image = tokens[:, image_place(TINY, "paint")]
    assert torch.equal(image - TINY.first_code, codes)
    assert torch.equal(image == TINY.mask_id, codes == TINY.codebook) and (codes == TINY.codebook).any()
    assert code_ids(TINY) == slice(TINY.first_code, TINY.mask_id)


def test_understand_layout_and_labels() -> None:
    codes = draw_codes(2)
    given = understand_sequence(TINY, codes, [[3], [4, 5, 6]], [[7, 8], [9]])
    mmu, soi, eoi, pad = (TINY.special(name) for name in ("mmu", "soi", "eoi", "pad"))
    assert given.tokens[0, :2].tolist() == [mmu, soi] and given.tokens[0, 11].item() == eoi
    assert torch.equal(given.tokens[:, image_place(TINY, "understand")] - TINY.first_code, codes)
    assert given.tokens[0, 12:].tolist() == [TINY.sot, 3, 7, 8, TINY.eot, pad]
    assert given.labels[0, 12:].tolist() == [IGNORED, IGNORED, 7, 8, TINY.eot, IGNORED]
    assert given.labels[1, 12:].tolist() == [IGNORED] * 4 + [9, TINY.eot]
    assert (given.labels[:, :12] == IGNORED).all() and given.lengths.tolist() == [17, 18]
    prompt = understand_sequence(TINY, codes, [[3], [4, 5, 6]])
    assert prompt.tokens[0, 12:].tolist() == [TINY.sot, 3, pad, pad] and prompt.lengths.tolist() == [14, 16]
    assert question_text("Is she smiling?") == "USER: \nIs she smiling? ASSISTANT:"


def test_show_o_s_ids() -> None:
    """Facts of Show-o's vocabulary."""
    config = preset("showo-1.3b")
    assert config.vocabulary == 58_498 and config.mask_id == 58_497 and config.first_code == 50_305
    names = ("pad", "soi", "eoi", "sov", "eov", "t2i", "mmu", "t2v", "v2v", "lvg")
    assert [config.special(name) for name in names] == list(range(50_295, 50_305))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="image codes"):
        paint_sequence(TINY, [[]], draw_codes(1)[:, :8])
    with pytest.raises(ValueError, match="masked one"):
        paint_sequence(TINY, [[]], draw_codes(1) + TINY.codebook + 1)
    with pytest.raises(ValueError, match="text ids"):
        text_prefix(TINY, [[TINY.text_vocabulary]])
