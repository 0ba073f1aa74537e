"""What a trained cell of the ablation is measured by: paintings, wishes granted, and captions of faces it never saw.

A prepared set holds codes, features and token ids, no pictures: paintings lie near the held-out faces as the codec
shows them (what the codec loses, neither side has), and captions are held against what the set's own say of the face.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limner.codecs.discrete import LFQCodec
from limner.evaluation.answer_accuracy import claims_right
from limner.evaluation.frechet import features, frechet_distance, kernel_distance
from limner.evaluation.prompt_alignment import aligned_attributes, draw_prompt
from limner.faces.image_tensors import to_pictures
from limner.faces.reader import FaceReader
from limner.models.unif2ace.caption_instructions import request
from limner.models.unif2ace.generation import answer, read_pictures
from limner.models.unif2ace.guidance import encode_prompt, guided_logits
from limner.models.unif2ace.prepared import unpad
from limner.models.unif2ace.task import UniF2aceTask
from limner.models.unif2ace.tokenizer import Tokenizer
from limner.models.unif2ace.transformer import UniF2aceTransformer
from limner.models.unif2ace.unmasking import all_masked, confidence
from limner.weights.tensors import load_into
from limner.words.claims import read_claims

BATCH = 16
LIMIT = 150
"""Tokens of a caption; the set's own have up to 131."""


def measure_cell(task: UniF2aceTask, weights: Path, count: int) -> dict[str, float | None]:
    """Paint and describe ``count`` held-out faces with exported weights.

    frechet, kernel_times_1000: paintings of their prompts against them. wishes: share granted of as many drawn
    prompts. caption_precision, caption_recall, caption_f1: of what captions claim; the stand-in for Desc (our choice:
    because a judge costs money, and claims are read by rule). None where nothing was claimed.
    """
    model = UniF2aceTransformer(task.config)
    load_into(model, weights)
    model = model.eval().requires_grad_(False)
    codec, tokenizer = LFQCodec.load(task.data.header["codec"]), Tokenizer.load(task.data.header["tokenizer"])
    rows = task.held_out[:count]
    drawn = [draw_prompt(seed) for seed in range(count)]
    asked = [text for batch in _batches(task, rows) for text in unpad(batch["texts"])]
    wished = tokenizer.encode([text for text, _ in drawn])
    real = np.concatenate([to_pictures(codec.decode(batch["codes"])) for batch in _batches(task, rows)])
    one, other = features(_paint(model, codec, task, asked)), features(real)
    return {
        "frechet": frechet_distance(one, other),
        "kernel_times_1000": 1000 * kernel_distance(one, other),
        "wishes": _alignment(_paint(model, codec, task, wished), [stated for _, stated in drawn]),
        **_captions(model, tokenizer, task, rows),
    }


def _batches(task: UniF2aceTask, rows: np.ndarray) -> Iterator[dict[str, torch.Tensor]]:
    rng = np.random.default_rng(0)
    for start in range(0, len(rows), BATCH):
        yield task.data.batch(rows[start : start + BATCH], rng, long=False)


def _paint(
    model: UniF2aceTransformer, codec: LFQCodec, task: UniF2aceTask, texts: Sequence[Sequence[int]]
) -> np.ndarray:
    """A picture of each text's ids, as the recipe's sample sheets are painted: uint8 (N, H, W, 3)."""
    settings, made, empty = task.settings, [], encode_prompt(model, [[]])
    for start in range(0, len(texts), BATCH):
        words = encode_prompt(model, texts[start : start + BATCH])
        predict = guided_logits(model, words, empty, settings.guidance)
        codes = all_masked(words.count, task.config.image_tokens, task.config.codebook)
        codes = confidence(predict, codes, settings.sample_steps, seed=start, temperature=settings.temperature)
        made.append(to_pictures(codec.decode(codes)))
    return np.concatenate(made)


def _alignment(pictures: np.ndarray, wishes: Sequence[Mapping[str, str]]) -> float:
    faces = FaceReader.load().read_crops(pictures)
    return float(
        np.mean([ok for face, stated in zip(faces, wishes) for ok in aligned_attributes(stated, face).values()])
    )


def _captions(
    model: UniF2aceTransformer, tokenizer: Tokenizer, task: UniF2aceTask, rows: np.ndarray
) -> dict[str, float | None]:
    texts: list[str] = []
    for batch in _batches(task, rows):
        mixed = model.mix(clip=batch["clip"], face=batch["face"])
        cache = read_pictures(model, batch["codes"], mixed)
        asked = [tokenizer.question(request("long"))] * len(batch["codes"])
        texts += [tokenizer.decode(ids) for ids in answer(model, cache, asked, LIMIT)]
    own = task.data.texts("captions", rows)  # (F, captions, W)
    found = claims_right(texts, [stated_by([tokenizer.decode(ids) for ids in unpad(each)]) for each in own])
    precision, recall = found["precision"], found["recall"]
    f1 = None
    if precision is not None and recall is not None:
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"caption_precision": precision, "caption_recall": recall, "caption_f1": f1}


def stated_by(captions: Sequence[str]) -> dict[str, Any]:
    """Attribute → value, of all that captions of one face say and that can mean one value only."""
    said: dict[str, Any] = {}
    for caption in captions:
        said |= {name: values[0] for name, values in read_claims(caption).items() if len(values) == 1}
    return said
