"""MDiTFace for users of diffusers: FluxPipeline with `mask=`.

    pipe = MDiTFacePipeline.from_pretrained("FLUX.1-dev folder")
    pipe.load_lora_weights("corrections.safetensors")          # what `limner train` writes, or any FLUX LoRA
    image = pipe("a smiling woman", mask=regions, height=512, width=512).images[0]

Everything else (prompts, generators, callbacks, offloading, LoRA) is FluxPipeline's. The mask's keys and values are
computed once a call and read in every step by the attention processors below. Without a mask it is FluxPipeline.

Legend: B batch, N image tokens, T text tokens, M mask tokens, H heads, E head size.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import FluxPipeline, ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import apply_rotary_emb
from PIL import Image
from torch import Tensor, nn

from limner.faces.image_tensors import to_model
from limner.faces.picture import read_region_map
from limner.faces.regions import colourise
from limner.weights.shards import Shards

from .lora_file import DIFFUSERS_FILE, MASK, mask_rank, mask_values, read_lora
from .static_path import shell_of, static_path_of
from .transformer import MaskFeatures

CUSTOM_PIPELINE = str(Path(__file__).parent / "diffusers_pipeline" / "mditface_pipeline.py")
"""For `DiffusionPipeline.from_pretrained(folder, custom_pipeline=CUSTOM_PIPELINE)`."""


class MaskCorrections(ModelMixin, ConfigMixin):
    """The mask stream's corrections as a component of a pipeline, saved and loaded with it."""

    @register_to_config
    def __init__(self, names: list[str], shapes: list[list[int]], rank: int) -> None:
        super().__init__()
        for name, shape in zip(names, shapes, strict=True):
            self.register_parameter(_key(name), nn.Parameter(torch.zeros(*shape)))

    @classmethod
    def of(cls, tensors: dict[str, Tensor], rank: int) -> MaskCorrections:
        """From values by MDiT's names."""
        made = cls(list(tensors), [list(value.shape) for value in tensors.values()], rank)
        made.load_state_dict({_key(name): value for name, value in tensors.items()})
        return made.requires_grad_(False)

    def tensors(self) -> dict[str, Tensor]:
        """Values by MDiT's names."""
        return {name: getattr(self, _key(name)).detach() for name in self.config["names"]}


def _key(name: str) -> str:
    return name.replace(".", "-")


class MaskAttention:
    """FLUX's attention in which text and image queries also read the mask's keys of one layer."""

    _attention_backend = None
    _parallel_config = None

    def __init__(self, layer: int) -> None:
        self.layer = layer

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
        mask_features: MaskFeatures | None = None,
    ) -> Any:
        """hidden_states: (B, N, D), or (B, T + N, D) in single blocks; encoder_hidden_states: (B, T, D)."""
        q, k, v = (
            layer(hidden_states).unflatten(-1, (-1, attn.head_dim)) for layer in (attn.to_q, attn.to_k, attn.to_v)
        )
        q, k = attn.norm_q(q), attn.norm_k(k)  # (B, N, H, E)
        if encoder_hidden_states is not None:
            text = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
            q_t, k_t, v_t = (layer(encoder_hidden_states).unflatten(-1, (-1, attn.head_dim)) for layer in text)
            q, k = torch.cat([attn.norm_added_q(q_t), q], 1), torch.cat([attn.norm_added_k(k_t), k], 1)
            v = torch.cat([v_t, v], 1)  # (B, T + N, H, E)
        if image_rotary_emb is not None:
            turn: Any = apply_rotary_emb  # its annotations do not know pairs of cosine and sine
            q, k = (turn(x, image_rotary_emb, sequence_dim=1) for x in (q, k))
        if mask_features is not None:
            k_m, v_m = (x[self.layer].transpose(1, 2).to(q) for x in mask_features[:2])  # (1 or B, M, H, E)
            k, v = (torch.cat([x, m.expand(len(x), -1, -1, -1)], 1) for x, m in ((k, k_m), (v, v_m)))
        out = dispatch_attention_fn(
            q, k, v, attn_mask=attention_mask, backend=self._attention_backend, parallel_config=self._parallel_config
        )
        out = out.flatten(2, 3).to(q.dtype)
        if encoder_hidden_states is None:
            return out
        words, image = out.split_with_sizes([encoder_hidden_states.shape[1], hidden_states.shape[1]], dim=1)
        return attn.to_out[1](attn.to_out[0](image)), attn.to_add_out(words)


class MDiTFacePipeline(FluxPipeline):
    """`FluxPipeline` that also follows a region map.

    `from_pretrained` takes any FLUX.1-dev or FLUX.1-schnell folder in diffusers' layout, and what `save_pretrained` of
    this class wrote, which keeps the mask corrections.
    """

    _optional_components: ClassVar[list[str]] = [*FluxPipeline._optional_components, "mask_corrections"]

    def __init__(
        self,
        scheduler: Any,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        text_encoder_2: Any,
        tokenizer_2: Any,
        transformer: Any,
        image_encoder: Any = None,
        feature_extractor: Any = None,
        mask_corrections: MaskCorrections | None = None,
    ) -> None:
        super().__init__(
            scheduler, vae, text_encoder, tokenizer, text_encoder_2, tokenizer_2, transformer, image_encoder,
            feature_extractor,
        )  # fmt: skip
        self.register_modules(mask_corrections=mask_corrections)

    def load_lora_weights(self, pretrained_model_name_or_path_or_dict: Any, *args: Any, **kwargs: Any) -> None:
        """As FluxPipeline's, and the mask stream's corrections where the file has them."""
        source: Any = pretrained_model_name_or_path_or_dict
        file = Path(source) if isinstance(source, (str, os.PathLike)) else None
        if file is not None and file.is_dir():
            file = file / kwargs.get("weight_name", DIFFUSERS_FILE)
        if file is None or not file.is_file():
            return super().load_lora_weights(pretrained_model_name_or_path_or_dict, *args, **kwargs)
        names = Shards(file.parent, file.name).names()
        if any(name.startswith(MASK) for name in names):
            found = read_lora(file)
            rank = mask_rank(found, str(file))
            values = mask_values(shell_of(self.transformer, rank), found, str(file))
            corrections = MaskCorrections.of(values, rank)
            self.register_modules(mask_corrections=corrections.to(self.transformer.device, self.transformer.dtype))
        if any(not name.startswith(MASK) for name in names):
            super().load_lora_weights(pretrained_model_name_or_path_or_dict, *args, **kwargs)

    @torch.no_grad()
    def encode_mask(self, mask: Any, height: int, width: int) -> MaskFeatures:
        """The mask's keys and values, to be given as `mask=` to any number of calls of that size.

        mask: region ids (H, W) in the official CelebAMask-HQ order, or a picture of them in a known palette (array, PIL
        image or file), in the frame of the picture to paint; it is resized without mixing labels.
        """
        ids = np.asarray(Image.fromarray(read_region_map(mask)).resize((width, height), Image.Resampling.NEAREST))
        device = self._execution_device
        pictures = to_model(colourise(ids)[None]).to(device, self.vae.dtype)
        latents = self.vae.encode(pictures).latent_dist.mode()
        latents = (latents - self.vae.config.shift_factor) * self.vae.config.scaling_factor
        corrections = self.mask_corrections
        tensors, rank = ({}, 0) if corrections is None else (corrections.tensors(), int(corrections.config["rank"]))
        return static_path_of(self.transformer, latents, tensors, device, rank)

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self,
        prompt: str | list[str] | None = None,
        mask: Any = None,
        *,
        height: int = 512,
        width: int = 512,
        num_inference_steps: int | None = None,
        max_sequence_length: int | None = None,
        joint_attention_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Paint; every argument that is not explained here is FluxPipeline's, `generator` and `callback_on_step_end`
        among them.

        prompt: may be left out where there is a mask. mask: as for `encode_mask`, or what that returned.
        num_inference_steps: 28, or 4 with FLUX.1-schnell, unless given. max_sequence_length: T5 tokens of a prompt,
        padding included: 512, or 256 with FLUX.1-schnell, unless given; fewer are cheaper.
        """
        dev = self.transformer.config.guidance_embeds
        if prompt is None and kwargs.get("prompt_embeds") is None:
            if mask is None:
                raise ValueError("nothing to paint: give a prompt, a mask, or both")
            prompt = ""
        given: dict[str, Any] = {
            "prompt": prompt,
            "height": height,
            "width": width,
            "num_inference_steps": num_inference_steps or (28 if dev else 4),
            "max_sequence_length": max_sequence_length or (512 if dev else 256),
        }
        if mask is None:
            return super().__call__(**given, joint_attention_kwargs=joint_attention_kwargs, **kwargs)
        features = mask if isinstance(mask, MaskFeatures) else self.encode_mask(mask, height, width)
        before = dict(self.transformer.attn_processors)
        self.transformer.set_attn_processor({name: MaskAttention(layer) for layer, name in enumerate(self._in_order())})
        try:
            shared = {**(joint_attention_kwargs or {}), "mask_features": features}
            return super().__call__(**given, joint_attention_kwargs=shared, **kwargs)
        finally:
            self.transformer.set_attn_processor(before)

    def _in_order(self) -> list[str]:
        """Names of the attention processors, layer by layer, double blocks first."""
        config = self.transformer.config
        names = [f"transformer_blocks.{i}.attn.processor" for i in range(config.num_layers)]
        names += [f"single_transformer_blocks.{i}.attn.processor" for i in range(config.num_single_layers)]
        assert set(names) == set(self.transformer.attn_processors)
        return names
