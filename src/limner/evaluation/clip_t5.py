"""CLIP-FlanT5 (Lin et al. 2024), the judge of the published VQAscore, through transformers' T5 and CLIP.

The folder is `zhiqiulin/clip-flant5-xxl` or `-xl` as safetensors: T5's tensors, and the two layers `mm_projector` that
turn CLIP ViT-L/14-336's patches (last layer but one) into word vectors. CLIP's own folder and the tokenizer's
(google/flan-t5) lie in it as `vision_tower` and `tokenizer`, or are named by its config's `mm_vision_tower`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from limner.errors import InputError
from limner.weights.tensors import check_keys, load_sharded

KIND = "clip_t5"
WEIGHTS = ("model.safetensors", "pytorch_model.safetensors")
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)  # the words the model was tuned with
ANSWER = "Yes"


class ClipT5:
    """P(answer | picture, question) of the whole answer with its end mark, as t2v_metrics computes it: the exponential
    of the mean log-probability of its tokens."""

    def __init__(self, t5: Any, projector: nn.Module, tower: Any, processor: Any, tokenizer: Any) -> None:
        self.t5, self.projector, self.tower = t5.eval(), projector.eval(), tower.eval()
        self.processor, self.tokenizer = processor, tokenizer

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> ClipT5:
        """From a folder as above. Raises InputError for what is missing or belongs to another model."""
        from transformers import (
            AutoTokenizer,
            CLIPImageProcessor,
            CLIPVisionModel,
            T5Config,
            T5ForConditionalGeneration,
        )

        values = json.loads((folder / "config.json").read_text("utf-8"))
        if values.get("mm_projector_type", "mlp2x_gelu") != "mlp2x_gelu":
            raise InputError(f"{folder} has a projector {values['mm_projector_type']!r}: CLIP-FlanT5 has mlp2x_gelu")
        config = T5Config(**{name: value for name, value in values.items() if name not in ("model_type", "dtype")})
        found = [name for name in WEIGHTS if (folder / name).is_file() or (folder / f"{name}.index.json").is_file()]
        if not found:
            raise InputError(f"{folder} holds no {WEIGHTS[0]}: convert its pickles with tools/convert/showo.py first")
        tower = _beside(folder, "vision_tower", values.get("mm_vision_tower"))
        words = _beside(folder, "tokenizer", str(folder))
        width = int(values.get("mm_hidden_size", 1024))
        with torch.device("meta"):
            t5 = T5ForConditionalGeneration(config)
            projector = nn.Sequential(
                nn.Linear(width, config.d_model), nn.GELU(), nn.Linear(config.d_model, config.d_model)
            )
        tensors = {name: tensor.to(dtype) for name, tensor in load_sharded(folder, found[0])}
        tensors = {
            name: tensor for name, tensor in tensors.items() if not name.startswith("vision_tower.")
        }  # CLIP's own
        for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "embed_tokens.weight"):
            if name in tensors:  # the same as `shared`, where the file has it at all
                tensors.setdefault("shared.weight", tensors[name])
                del tensors[name]
        ours = {f"mm_projector.{name}": tensor for name, tensor in projector.state_dict().items()}
        tied = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
        wanted = {name: tensor for name, tensor in t5.state_dict().items() if name not in tied} | ours
        if config.tie_word_embeddings and "lm_head.weight" not in tensors:
            wanted.pop("lm_head.weight", None)
        check_keys(tensors, wanted, where=str(folder))
        projector.load_state_dict({name.partition(".")[2]: tensors.pop(name) for name in ours}, assign=True)
        for name in tied:
            tensors[name] = tensors["shared.weight"]
        tensors.setdefault("lm_head.weight", tensors["shared.weight"])
        t5.load_state_dict(tensors, assign=True)
        clip = CLIPVisionModel.from_pretrained(tower, use_safetensors=True, dtype=dtype)
        parts: list[nn.Module] = [t5, projector, clip]
        for part in parts:
            part.to(device)
        return cls(t5, projector, clip, CLIPImageProcessor.from_pretrained(tower), AutoTokenizer.from_pretrained(words))

    @torch.inference_mode()
    def yes(self, picture: np.ndarray, question: str) -> float:
        """Probability (0..1) of "Yes" for a picture (H, W, 3) uint8."""
        before, after = f"{SYSTEM} USER: ", f"\n{question} ASSISTANT: "
        words = [self._embed(text) for text in (before, after)]
        embeds = torch.cat([words[0], self._look(picture), words[1]])[None]
        labels = torch.tensor([self.tokenizer(ANSWER).input_ids], device=embeds.device)
        given = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
        logits = self.t5(inputs_embeds=embeds, attention_mask=given, labels=labels).logits[0]  # (T, V)
        told = logits.float().log_softmax(-1).gather(1, labels[0][:, None])
        return float(told.mean().exp())

    def _embed(self, text: str) -> Tensor:
        """Word vectors (T, D) of a part of the question; each part ends with T5's end mark, as in training."""
        ids = torch.tensor(self.tokenizer(text).input_ids, device=self.t5.shared.weight.device)
        return self.t5.shared(ids)

    def _look(self, picture: np.ndarray) -> Tensor:
        """Picture as word vectors (patches, D), padded to a square with CLIP's mean colour."""
        height, width = picture.shape[:2]
        side = max(height, width)
        mean = tuple(int(255 * value) for value in self.processor.image_mean)
        square = Image.new("RGB", (side, side), mean)
        square.paste(Image.fromarray(picture), ((side - width) // 2, (side - height) // 2))
        pixels = self.processor(images=square, return_tensors="pt")["pixel_values"]
        weight = self.projector[0].weight  # type: ignore[index]
        found = self.tower(pixel_values=pixels.to(weight.device, weight.dtype), output_hidden_states=True)
        return self.projector(found.hidden_states[-2][0, 1:])


def _beside(folder: Path, name: str, otherwise: str | None) -> str:
    if (folder / name).is_dir():
        return str(folder / name)
    if otherwise is None:
        raise InputError(f"{folder} holds no folder {name}")
    return otherwise
