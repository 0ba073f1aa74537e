"""What UniF²ace's caches and its way through the experts save: interleaved runs of both ways, on the nano sizes.

    python benchmarks/unif2ace_speed.py [--weights unif2ace-nano] [--repeats 5] [--clock cpu --threads 1]

Answers: 120 tokens, keys and values kept, or the whole sequence anew for every token. Decoder: an answer with the
weights laid out for one token (decoding.py), or with the model itself. Painting: 18 steps, guided, words read once and
logits where they are needed, or all of it at every step. Experts: a training step with every token through all experts
at once, or sorted by expert. Padding: a training step with it left out, or kept. Attention: a training step with it
written out, or fused. Describe: a bundled photograph, by trained weights only. Without weights the model is random: the
other times do not depend on what it has learned. ``--clock cpu`` counts processor time instead, which a busy machine
disturbs less.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from limner.evaluation.results import store_result
from limner.models.unif2ace import losses, transformer
from limner.models.unif2ace.config import NANO
from limner.models.unif2ace.d3diff import draw_masks
from limner.models.unif2ace.engine import UniF2ace
from limner.models.unif2ace.experts import RoutedExperts
from limner.models.unif2ace.generation import SamplingParams, answer, read_pictures
from limner.models.unif2ace.guidance import encode_prompt, guided_logits
from limner.models.unif2ace.loading import load_components
from limner.models.unif2ace.sequence import (
    code_ids,
    image_place,
    omni_mask,
    paint_sequence,
    text_ids,
    understand_sequence,
)
from limner.models.unif2ace.token_decoder import TokenDecoder
from limner.models.unif2ace.transformer import UniF2aceTransformer
from limner.models.unif2ace.unmasking import all_masked, confidence

PHOTOGRAPHS = Path(str(files("limner.demo"))) / "photographs"
TOKENS, STEPS, GUIDANCE = 120, 18, 3.0
QUESTION, TEXT = list(range(2, 15)), list(range(2, 18))  # as long as the set's are in the mean


def features(model: UniF2aceTransformer, batch: int) -> dict[str, torch.Tensor]:
    """Random semantic and identity features."""
    g = torch.Generator().manual_seed(0)
    clip = torch.randn(batch, 49, model.config.clip_width, generator=g)
    return {"clip": clip, "face": torch.randn(batch, 1, model.config.face_width, generator=g)}


@torch.no_grad()
def answer_cached(model: UniF2aceTransformer, codes: torch.Tensor, decoder: TokenDecoder | None = None) -> list[int]:
    """The picture read once, then one token at a time, as ``UniF2ace`` does."""
    cache = read_pictures(model, codes, model.mix(**features(model, 1)))
    return answer(model, cache, [QUESTION], TOKENS, SamplingParams(no_repeat_ngram_size=0), decoder=decoder)[0]


@torch.no_grad()
def answer_plain(model: UniF2aceTransformer, codes: torch.Tensor) -> list[int]:
    """Everything anew for every token."""
    config, said = model.config, list[int]()
    place, mixed = image_place(config, "understand"), model.mix(**features(model, 1))
    while len(said) < TOKENS:
        given = understand_sequence(config, codes, [[*QUESTION, *said]])
        mask = omni_mask(config, given.tokens, "understand")
        out = model(given.tokens, mask, "understand", image=place, mixed=mixed)
        said.append(int(model.logits(out.hidden[:, -1], text_ids(config)).argmax(-1)))
    return said


def paint_cached(model: UniF2aceTransformer) -> torch.Tensor:
    """Words read once, logits of masked tokens only."""
    predict = guided_logits(model, encode_prompt(model, [TEXT]), encode_prompt(model, [[]]), GUIDANCE)
    return confidence(predict, all_masked(1, model.config.image_tokens, model.config.codebook), STEPS, seed=0)


def paint_plain(model: UniF2aceTransformer) -> torch.Tensor:
    """Words read at every step, in both branches, and all logits."""
    config, place = model.config, image_place(model.config, "paint")

    @torch.no_grad()
    def predict(codes: torch.Tensor, gamma: float) -> torch.Tensor:
        tokens = paint_sequence(config, [TEXT, []], codes.repeat(2, 1))
        mixed = model.mix(gamma=torch.full((2,), gamma))
        out = model(tokens, omni_mask(config, tokens, "paint"), "paint", image=place, mixed=mixed)
        one, other = model.logits(out.hidden[:, place], code_ids(config)).float().chunk(2)
        return ((1 + GUIDANCE) * one - GUIDANCE * other)[codes == config.codebook]

    return confidence(predict, all_masked(1, config.image_tokens, config.codebook), STEPS, seed=0)


def training_step(
    model: UniF2aceTransformer, batch: int, way: str = "wide", padding: bool = False, fused: bool = False
) -> None:
    """Forward and backward of both losses in bfloat16, as the recipe trains: prompts, and four short turns."""
    config, g = model.config, torch.Generator().manual_seed(0)
    codes = torch.randint(config.codebook, (batch, config.image_tokens), generator=g)
    gamma, masked = draw_masks((batch, config.image_tokens), g)
    wide, leading, attend = RoutedExperts.wide, losses.leading_padding, transformer.attend
    if way == "sorted":
        RoutedExperts.wide = RoutedExperts.sorted
    if padding:
        losses.leading_padding = lambda padding: 0
    if fused:
        transformer.attend = lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            painted = losses.paint_loss(model, [TEXT] * batch, codes, masked, gamma)
            talk = [(QUESTION, QUESTION[:6])] * 4
            answered = losses.conversation_loss(model, codes, [talk] * batch, **features(model, batch))
        (painted.loss.total + answered.loss).backward()
    finally:
        RoutedExperts.wide, losses.leading_padding, transformer.attend = wide, leading, attend
    model.zero_grad(set_to_none=True)


def describing(weights: str, repeats: int) -> dict[str, float]:
    """Median seconds of a warm `describe` of a bundled photograph, face reader and all, and to its first words."""
    engine, photo = UniF2ace.load(weights), min(PHOTOGRAPHS.glob("*.jpg"))
    engine.describe(photo)
    whole, first = [], []
    for _ in range(repeats):
        began, words = time.perf_counter(), list[float]()
        engine.describe(photo, stream=lambda row, text, words=words: words.append(time.perf_counter()))
        whole.append(time.perf_counter() - began)
        first.append(words[0] - began)
    return {"seconds": float(np.median(whole)), "seconds_to_first_words": float(np.median(first))}


def interleaved(ways: dict[str, Callable[[], Any]], repeats: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Median seconds of two ways, and the ratio of the medians, the second to the first.

    The ways take turns, so both see the same machine.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            began = clock()
            run()
            seconds[name].append(clock() - began)
    medians = {name: float(np.median(found)) for name, found in seconds.items()}
    first, second = medians.values()
    return {"seconds": medians, "ratio": second / first}


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="registry name or path; default: random weights of the nano sizes")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8, help="faces in a training step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--out", type=Path, default=Path("results/unif2ace-speed.json"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.weights is None:
        model = UniF2aceTransformer(NANO).initialise(torch.Generator().manual_seed(0))
    else:
        model = load_components(given.weights).model
    model.head.bias.data[model.config.eot] -= 1e4  # always all 120 tokens
    codes = torch.randint(
        model.config.codebook, (1, model.config.image_tokens), generator=torch.Generator().manual_seed(0)
    )
    compare = partial(
        interleaved, repeats=given.repeats, clock={"wall": time.perf_counter, "cpu": time.process_time}[given.clock]
    )
    model.requires_grad_(False)
    decoder = TokenDecoder(model)
    said = answer_plain(model, codes)
    assert answer_cached(model, codes) == said and answer_cached(model, codes, decoder) == said
    assert torch.equal(paint_cached(model), paint_plain(model))
    figures: dict[str, Any] = {
        "answer": compare(
            {"cached": lambda: answer_cached(model, codes, decoder), "plain": lambda: answer_plain(model, codes)}
        ),
        "decoder": compare(
            {"laid out": lambda: answer_cached(model, codes, decoder), "model": lambda: answer_cached(model, codes)}
        ),
        "paint": compare({"cached": lambda: paint_cached(model), "plain": lambda: paint_plain(model)}),
    }
    if given.weights is not None:
        figures["describe"] = describing(given.weights, given.repeats)
    figures["answer"]["tokens_per_second"] = TOKENS / figures["answer"]["seconds"]["cached"]
    model.requires_grad_(True)
    step = partial(training_step, model, given.batch)
    figures["experts"] = compare({"wide": step, "sorted": partial(step, way="sorted")})
    figures["padding"] = compare({"left out": step, "kept": partial(step, padding=True)})
    figures["attention"] = compare({"written out": step, "fused": partial(step, fused=True)})
    tokens = given.batch * (2 * (model.config.image_tokens + 3) + len(TEXT) + 2 + 4 * (len(QUESTION) + 8))
    figures["training_tokens_per_second"] = tokens / figures["experts"]["seconds"]["wide"]
    settings = {name: getattr(given, name) for name in ("weights", "repeats", "batch", "threads", "clock")}
    command = shlex.join(["python", "benchmarks/unif2ace_speed.py", *sys.argv[1:]])
    for name, value in store_result(given.out, command, figures, 0, settings)["figures"].items():
        print(name, value)


if __name__ == "__main__":
    main()
