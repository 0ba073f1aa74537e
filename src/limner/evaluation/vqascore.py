"""VQAscore (Lin et al. 2024): the probability that a model answers "Yes" when asked whether a picture shows some words.

UniF²ace takes it with CLIP-FlanT5 (-CF5) and LLaVA (-LV). CLIP-FlanT5 is `clip_t5`. Besides it any visual question
answering model of transformers' serves: those that write (LLaVA and its like; encoder–decoders such as InstructBLIP on
FlanT5) by the probability of the first token of the answer, those that choose among labels (ViLT) by the probability of
the label.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from limner.errors import InputError
from limner.evaluation.clip_t5 import KIND, ClipT5
from limner.evaluation.image_text_pairs import Pair

QUESTION = 'Does this figure show "{text}"? Please answer yes or no.'  # the template of Lin et al.
ANSWER = "Yes"


class VQAModel(Protocol):
    """Answers a question on a picture with the probability of "yes"."""

    def yes(self, picture: np.ndarray, question: str) -> float:
        """Probability (0..1) for a picture (H, W, 3) uint8."""
        ...


def vqa_scores(
    model: VQAModel, pairs: Sequence[Pair], progress: Callable[[int, int], None] | None = None
) -> list[float]:
    """VQAscore (0..1) of every pair."""
    scores = []
    for k, pair in enumerate(pairs):
        scores.append(model.yes(pair.picture(), QUESTION.format(text=pair.text.rstrip("."))))
        if progress is not None:
            progress(k + 1, len(pairs))
    return scores


def check_folder(folder: str | Path) -> Any:
    """The config of a model folder in transformers' format. Raises InputError when it holds none."""
    if not (Path(folder) / "config.json").is_file():
        raise InputError(f"{folder} holds no config.json: give the folder of a model in transformers' format")
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder)


class WritingModel:
    """A model that writes its answer: P("Yes" as the first token | picture, question)."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model.eval(), processor
        ids = processor.tokenizer(ANSWER, add_special_tokens=False).input_ids
        self.token = ids[0]

    def prompt(self, question: str) -> str:
        """The question in the model's own form: its chat template, or with its image token before it."""
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": question}]
            return self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
        image = getattr(self.processor, "image_token", None)
        return f"USER: {image}\n{question} ASSISTANT:" if image else question

    @torch.inference_mode()
    def yes(self, picture: np.ndarray, question: str) -> float:
        given = self.processor(images=picture, text=self.prompt(question), return_tensors="pt")
        text = getattr(self.model.config, "text_config", self.model.config)
        if text.is_encoder_decoder:
            given["decoder_input_ids"] = torch.tensor([[text.decoder_start_token_id]])
        logits = self.model(**given).logits[0, -1]  # (V,)
        return float(logits.float().softmax(-1)[self.token])


class ChoosingModel:
    """A model that chooses among answers, each with a probability of its own (ViLT): that of the label "yes"."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model.eval(), processor
        labels = {str(label).lower(): int(k) for k, label in model.config.id2label.items()}
        if "yes" not in labels:
            raise InputError("this model has no answer 'yes': it cannot give a VQAscore")
        self.label = labels["yes"]

    @torch.inference_mode()
    def yes(self, picture: np.ndarray, question: str) -> float:
        given = self.processor(picture, question, return_tensors="pt", truncation=True)
        # trained with one sigmoid for each answer (soft scores of VQAv2)
        return float(self.model(**given).logits[0, self.label].float().sigmoid())


def load_vqa_model(folder: str | Path) -> VQAModel:
    """The model of a folder in transformers' format, or CLIP-FlanT5's. Raises InputError when it answers no questions
    on pictures."""
    described = Path(folder) / "config.json"
    if described.is_file() and json.loads(described.read_text("utf-8")).get("model_type") == KIND:
        return ClipT5.load(Path(folder))
    kind = check_folder(folder).model_type
    from transformers import AutoModelForImageTextToText, AutoProcessor, ViltForQuestionAnswering

    if kind == "vilt":
        return ChoosingModel(ViltForQuestionAnswering.from_pretrained(folder), AutoProcessor.from_pretrained(folder))
    try:
        model = AutoModelForImageTextToText.from_pretrained(folder)
    except ValueError as error:
        raise InputError(f"{folder} holds a model of kind '{kind}', which answers no questions on pictures") from error
    return WritingModel(model, AutoProcessor.from_pretrained(folder))
