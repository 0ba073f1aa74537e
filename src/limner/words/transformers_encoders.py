"""CLIP and T5 text encoders through transformers, behind the same interface as the small one.

They are what Stable Diffusion and FLUX.1 were trained with. A folder is one in transformers' own format (config.json
and weights), with the tokenizer in it or in a folder of its own, as diffusers' pipelines keep it.
B texts, T tokens, D width.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from limner.errors import InputError
from limner.words.encoder import TextEncoder, TextFeatures


class TransformersEncoder:
    """A CLIP or T5 text encoder.

    CLIP: tokens are the last hidden states (after the final norm), pooled is the state at the end-of-text token.
    T5: tokens are the encoder's last hidden states; T5 has no pooled vector, so it is the mean over the tokens present
    (our choice; FLUX.1 takes it from CLIP, see PairedEncoder).
    """

    def __init__(self, model: Any, tokenizer: Any, attend_padding: bool = False) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.attend_padding = attend_padding
        self.kind = model.config.model_type.split("_")[0]

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        tokenizer: str | os.PathLike[str] | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        attend_padding: bool = False,
    ) -> TransformersEncoder:
        """From a folder of a CLIP (whole or text part) or T5 model; `tokenizer` is its folder when it is another one.

        attend_padding: let tokens see the padding, as FLUX.1 does with T5 (it was trained so). Without it, padding
        changes nothing. Raises InputError for a folder that holds neither model.
        """
        place = Path(folder)
        if not (place / "config.json").is_file():
            raise InputError(f"{place} holds no config.json: give a CLIP or T5 folder in transformers' format")
        kind = json.loads((place / "config.json").read_text("utf-8")).get("model_type")
        from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

        classes = {"clip": CLIPTextModel, "clip_text_model": CLIPTextModel, "t5": T5EncoderModel}
        if kind not in classes:
            raise InputError(f"{place} holds a model of type {kind!r}: text encoders are {', '.join(sorted(classes))}")
        with _without_bars():
            model = classes[kind].from_pretrained(place, dtype=dtype, local_files_only=True).to(device)
        words = AutoTokenizer.from_pretrained(tokenizer or place, local_files_only=True)
        return cls(model, words, attend_padding)

    @property
    def width(self) -> int:
        """D: CLIP's hidden_size, T5's d_model."""
        return self.model.config.hidden_size

    @property
    def limit(self) -> int | None:
        """The most tokens a text can have: 77 for CLIP, none for T5 (its positions are relative)."""
        return getattr(self.model.config, "max_position_embeddings", None)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], length: int | None = None) -> TextFeatures:
        """Encode texts; see TextEncoder. Raises InputError for a `length` beyond the model's limit."""
        if length is not None and self.limit is not None and length > self.limit:
            raise InputError(f"length {length} is beyond the {self.limit} tokens of this model: choose a smaller one")
        marks = self.tokenizer(
            list(texts),
            padding="longest" if length is None else "max_length",
            truncation=True,
            max_length=length or self.limit or 512,
            return_tensors="pt",
        ).to(self.model.device)
        ids, mask = marks["input_ids"], marks["attention_mask"].bool()
        seen = torch.ones_like(mask) if self.attend_padding else mask
        found = self.model(input_ids=ids, attention_mask=seen.long())
        tokens = found.last_hidden_state.float()  # (B, T, D)
        present = mask.unsqueeze(-1).float()
        pooled = found.pooler_output.float() if self.kind == "clip" else (tokens * present).sum(1) / present.sum(1)
        return TextFeatures(tokens if self.attend_padding else tokens * present, seen, pooled)


class PairedEncoder:
    """Token features from one encoder and the pooled vector from another: T5 and CLIP in FLUX.1."""

    def __init__(self, tokens: TextEncoder, pooled: TextEncoder) -> None:
        self._tokens, self._pooled = tokens, pooled

    @property
    def width(self) -> int:
        """The width of a token vector, that of the first encoder."""
        return self._tokens.width

    def encode(self, texts: Sequence[str], length: int | None = None) -> TextFeatures:
        """Encode texts with both; `length` is for the tokens, the pooled vector sees as much as its encoder can."""
        features = self._tokens.encode(texts, length)
        return TextFeatures(features.tokens, features.mask, self._pooled.encode(texts, None).pooled)


@contextmanager
def _without_bars() -> Iterator[None]:
    """No progress bars of transformers ("Loading weights: …") within the block; afterwards as it was before."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging

    shown, hub_hidden = logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # which shows the hub's bars as well
            if hub_hidden:
                disable_progress_bars()
