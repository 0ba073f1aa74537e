"""CLIP score: how near a picture and its words lie in CLIP's space (Hessel et al. 2021, without their factor 2.5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from limner.errors import InputError
from limner.evaluation.image_text_pairs import Pair

BATCH = 16


class ClipScorer:
    """A CLIP through transformers: 100 · max(cos(picture, words), 0), as torchmetrics' CLIPScore counts it."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model.eval(), processor

    @classmethod
    def load(cls, folder: str | Path) -> ClipScorer:
        """From a folder in transformers' format. Raises InputError when it holds no CLIP."""
        from limner.evaluation.vqascore import check_folder

        if check_folder(folder).model_type != "clip":
            raise InputError(f"no CLIP model in {folder}")
        from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel, CLIPProcessor

        processor = CLIPProcessor(CLIPImageProcessor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))
        return cls(CLIPModel.from_pretrained(folder), processor)

    @torch.inference_mode()
    def score(self, pairs: Sequence[Pair], progress: Callable[[int, int], None] | None = None) -> list[float]:
        """One score (0..100) a pair. Words beyond CLIP's 77 tokens are cut off."""
        scores: list[float] = []
        longest = self.model.config.text_config.max_position_embeddings
        for start in range(0, len(pairs), BATCH):
            batch = pairs[start : start + BATCH]
            given = self.processor(
                text=[pair.text for pair in batch],
                images=[pair.picture() for pair in batch],
                return_tensors="pt",
                padding=True,
                truncation=True,
                max_length=longest,
            )
            found = self.model(**given)
            image, text = (
                torch.nn.functional.normalize(x, dim=-1) for x in (found.image_embeds, found.text_embeds)
            )  # (B, D)
            scores += (100 * (image * text).sum(-1).clamp_min(0)).tolist()
            if progress is not None:
                progress(min(start + BATCH, len(pairs)), len(pairs))
        return scores
