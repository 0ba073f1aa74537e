"""MDiTFace, the painter: words, a region map, or both, to pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limner import __version__
from limner.errors import InputError
from limner.faces.align_map import align_map
from limner.faces.geometry import warp
from limner.faces.image_tensors import to_model, to_pictures
from limner.faces.picture import read_region_map
from limner.faces.regions import colourise
from limner.progress import PreviewCallback, ProgressCallback
from limner.provenance.picture import Picture
from limner.settings import BATCH, check_text
from limner.weights.device import choose
from limner.weights.fingerprint import weights_hash
from limner.weights.pretrained import PretrainedEngine, files_below
from limner.weights.store import locate
from limner.words.encoder import MiniLM
from limner.words.prompt import recorded, understood

from .embedding import Prompt
from .flow import SAMPLERS, draw_noise, schedule
from .guidance import branches, guided_velocity
from .loading import MASK_LORA, MDiTFaceComponents, is_pipeline, load_components, saved_loras, weight_file
from .mask_cache import MaskCache, encode_mask, fingerprint, join
from .paint_settings import GenerationConfig
from .region_map_text import map_ingredient, pack_map, unpack_map
from .token_merging import merge_regions, merge_similar

if TYPE_CHECKING:
    from limner.faces.record import Face

    Mask = Face | np.ndarray | Image.Image | bytes | str | os.PathLike[str]

MOST_THREADS = 1024  # that a recipe may ask for
BATCH_SETTINGS = ("steps", "guidance", "mask_guidance", "sampler", "merge", "size")
"""What requests that are painted in one batch have in common; they also all have words or all none, and masks alike."""


class MDiTFace(PretrainedEngine):
    """Paints portraits. Make one with ``MDiTFace.load``; use it from one thread at a time."""

    ENGINE = "mditface"
    PAPER = "https://arxiv.org/abs/2511.12631"

    def __init__(
        self,
        components: MDiTFaceComponents,
        name: str,
        why: str,
        source: str | os.PathLike[str] = "",
        loras: Sequence[Path] = (),
    ) -> None:
        """source, loras: the files that the parts were loaded from, for ``save_pretrained``."""
        self.components, self.name, self.why = components, name, why
        self._source, self._loras = source or name, tuple(loras)
        encoder = getattr(
            components.encoder, "model", None
        )  # a pair of encoders is known by its pipeline's transformer
        self._companions = {
            "codec": weights_hash(components.codec),
            "encoder": weights_hash(encoder) if isinstance(encoder, torch.nn.Module) else "",
        }

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] = "mditface-nano",
        device: str = "auto",
        precision: str = "auto",
        lora: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        text_length: int | None = None,
    ) -> MDiTFace:
        """From a registry name, a weight file, or the folder of a FLUX.1 pipeline.

        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``. precision: ``auto``, ``bf16``, ``fp32``; what auto
        chose, and why, stands in ``.why``. lora: for FLUX, files of corrections: ours, or any FLUX LoRA. text_length:
        for FLUX, T5 tokens a prompt is padded or cut to, if not the published number. Raises ``InputError``.
        """
        where, dtype, why = choose(device, precision)
        files = saved_loras(source) if lora is None else [lora] if isinstance(lora, (str, os.PathLike)) else list(lora)
        added = [Path(file) for file in files]
        return cls(load_components(source, where, dtype, added, text_length), str(source), why, source, added)

    def pretrained_files(self) -> dict[str, Path]:
        """Its weight file, or every file of its FLUX.1 pipeline; and its corrections."""
        place = Path(locate(self._source))
        if is_pipeline(place):
            names = [MASK_LORA, *(f"lora-{k}.safetensors" for k in range(2, len(self._loras) + 1))]
            return {**files_below(place), **dict(zip(names, self._loras))}
        return {"model.safetensors": weight_file(place)}

    def paint(
        self,
        text: str | None = None,
        mask: Mask | None = None,
        n: int = 1,
        steps: int | None = None,
        guidance: float | None = None,
        mask_guidance: float | None = None,
        seed: int = 0,
        sampler: str = "euler",
        merge: int | str | None = None,
        size: int | None = None,
        palette: str = "auto",
        callback: ProgressCallback | None = None,
    ) -> list[Picture]:
        """Paint ``n`` pictures.

        text: what to paint. mask: a Face that ``read`` returned (its own regions, aligned), a region map (H, W) of ids,
        a palette picture (array, PIL image or file). steps: 28, or 4 with FLUX.1-schnell, unless given. guidance,
        mask_guidance: how strongly words and mask are followed, 1 is unguided (defaults: the weights' own for words; 1
        for a mask with words, 1.5 without). seed: picture k is that of seed + k, whatever n. sampler: ``euler`` or
        ``heun``. merge: mask tokens to keep per layer, or ``regions``; None merges nothing. size: side in pixels, for
        FLUX. palette: of the mask, see ``region_map``. Raises ``InputError`` for what cannot be painted.
        """
        config = self._config(text, mask, n, steps, guidance, mask_guidance, seed, sampler, merge, size, palette)
        return self._paint([config], None if callback is None else lambda done, total, _: callback(done, total))[0]

    def paint_batch(
        self, requests: Sequence[dict[str, Any]], watch: PreviewCallback | None = None
    ) -> list[list[Picture]]:
        """Paint several requests as one, for servers: each is the arguments of ``paint``; returns each one's pictures.

        A picture is that of its own seed whoever it is painted with, up to what kernels round by batch size (measured
        in tests/mditface/test_together.py); its recipe says how many were in the batch. ``InputError`` for requests
        that differ in what ``BATCH_SETTINGS`` names.
        """
        every = [self._config(**request) for request in requests]
        if len({together(config) for config in every}) > 1:
            raise InputError(f"only requests of the same {', '.join(BATCH_SETTINGS)} can be painted together")
        return self._paint(every, watch)

    def _paint(self, every: list[GenerationConfig], watch: PreviewCallback | None) -> list[list[Picture]]:
        rows = [(config, k) for config in every for k in range(config.n)]
        steps = every[0].steps
        total = steps * -(-len(rows) // BATCH)
        pictures: list[Picture] = []
        for first in range(0, len(rows), BATCH):
            done = first // BATCH * steps
            batch = rows[first : first + BATCH]
            pictures += self._batch(batch, lambda step, look: watch(done + step, total, look) if watch else None)  # noqa: B023
        out = iter(pictures)
        return [[next(out) for _ in range(config.n)] for config in every]

    def replay(self, recipe: dict[str, Any], callback: ProgressCallback | None = None) -> Picture:
        """Make a picture again from its recipe: the same batch on the same number of threads, so the same bits.

        ``InputError`` if the recipe is another engine's or was made with other weights.
        """
        try:
            config = GenerationConfig.from_recipe(recipe)
            picture, threads, weights = int(recipe["picture"]), int(recipe["threads"]), recipe["weights"]
            first = picture // BATCH * BATCH
        except InputError:
            raise
        except (KeyError, TypeError, ValueError):
            raise InputError("invalid MDiTFace recipe: use the version of Limner that wrote it") from None
        config.check_weights(self.components)
        if not 0 <= picture < config.n or not 1 <= threads <= MOST_THREADS:
            raise InputError(f"invalid recipe: picture={picture}, threads={threads}")
        if recipe.get("text_length", self.components.text_length) != self.components.text_length:
            raise InputError(f"this picture was made with text_length={recipe['text_length']}: load the model with it")
        if weights != self.weights():
            raise InputError(
                "the loaded weights or precision differ from those in the recipe: load the weights named there"
            )
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            rows = [(config, k) for k in range(first, min(first + BATCH, config.n))]
            pictures = self._batch(rows, lambda step, _: callback(step, config.steps) if callback else None)
            return pictures[picture - first]
        finally:
            torch.set_num_threads(before)

    def weights(self) -> dict[str, str]:
        """What the loaded weights are, in their type: goes into every recipe."""
        return {"transformer": fingerprint(self.components.model), **self._companions}

    def encode_mask(self, regions: np.ndarray | None, size: int | None = None) -> MaskCache | None:
        """The cache of a region map (H, W), H = W = size; of the null mask for None; None where there is none."""
        model, config = self.components.model, self.components.model.config
        if regions is None:
            cells = (size or self.components.size) // config.token_pixels
            return None if model.no_mask is None else encode_mask(model, None, (cells, cells))
        if model.mask_in is not None:
            return encode_mask(model, torch.from_numpy(regions)[None].to(self._device))
        pictures = to_model(colourise(regions)[None]).to(self._device)
        with torch.no_grad():
            return encode_mask(model, self.components.codec.encode(pictures))

    def _config(
        self,
        text: str | None = None,
        mask: Mask | None = None,
        n: int = 1,
        steps: int | None = None,
        guidance: float | None = None,
        mask_guidance: float | None = None,
        seed: int = 0,
        sampler: str = "euler",
        merge: int | str | None = None,
        size: int | None = None,
        palette: str = "auto",
    ) -> GenerationConfig:
        """The arguments of ``paint`` with the weights' own defaults in place, checked."""
        if text is not None:
            check_text(text)
        words, side = (text or "").strip(), self.components.size if size is None else size
        config = GenerationConfig(
            text=words,
            mask=None if mask is None else "",  # packed last, when its size is known to be right
            n=n,
            steps=self.components.steps if steps is None else steps,
            guidance=self.components.guidance if guidance is None else guidance,
            mask_guidance=(1.0 if words else self._mask_alone) if mask_guidance is None else mask_guidance,
            seed=seed,
            sampler=sampler,
            merge=merge,
            size=side,
        )
        config.check_weights(self.components)
        if words and isinstance(self.components.encoder, MiniLM):  # larger encoders hear more
            config = replace(config, **recorded(understood(words)))
        return config if mask is None else replace(config, mask=pack_map(region_map(mask, side, palette)))

    @property
    def _mask_alone(self) -> float:
        return 1.0 if self.components.model.no_mask is None else 1.5

    @property
    def _device(self) -> torch.device:
        return self.components.model.image_in.weight.device

    @torch.no_grad()
    def _batch(
        self, rows: list[tuple[GenerationConfig, int]], progress: Callable[[int, Callable[[], np.ndarray]], Any]
    ) -> list[Picture]:
        """One picture a row: (request, the picture's number in it). Up to ``BATCH`` rows, ``together`` alike."""
        model, asked = self.components.model, rows[0][0]
        side, config = asked.size, model.config
        texts, maps = [row.text for row, _ in rows], [row.mask for row, _ in rows if row.mask is not None]
        distilled = config.guidance_embed
        velocity = guided_velocity(
            model,
            self._prompt(texts),
            self._caches(maps, asked.merge) if maps else None,
            self.encode_mask(None, side),
            asked.guidance if config.null_conditions else 1.0,
            asked.mask_guidance,
            has_words=asked.has_words or not config.null_conditions,
            distilled=asked.guidance if distilled else None,
        )
        cells = side // config.latent_factor
        shape = (config.latent_channels, cells, cells)
        noise = torch.cat([draw_noise(shape, row.seed + k, 1) for row, k in rows]).to(self._device)
        times = schedule(asked.steps, self.components.shift((cells // config.patch) ** 2))
        latents = SAMPLERS[asked.sampler](
            velocity, noise, times, lambda step, t, x, estimate: progress(step, lambda: self._decode(estimate))
        )
        alone = all(row is asked for row, _ in rows)
        shared = {} if alone else {"batched_with": len(rows) - 1}
        return [
            self._picture(image, row, k, shared) for image, (row, k) in zip(self._decode(latents), rows, strict=True)
        ]

    def _prompt(self, texts: list[str]) -> Prompt:
        """The prompts of a batch; each text is encoded once, and alone, so that it is the same in any company."""
        encoded = {text: self.components.encoder.encode([text], self.components.text_length) for text in set(texts)}
        prompts = {text: Prompt(f.tokens, f.pooled, f.mask).to(self._device) for text, f in encoded.items()}
        return Prompt.join([prompts[text] for text in texts])

    def _caches(self, maps: list[str], merge: int | str | None) -> MaskCache | None:
        """The caches of a batch's masks: one row if it is the same mask for all, else one row each."""
        caches = {packed: self._merged(unpack_map(packed), merge) for packed in dict.fromkeys(maps)}
        if len(caches) == 1:
            return caches[maps[0]]
        return join([cache for packed in maps if (cache := caches[packed]) is not None])

    def _merged(self, regions: np.ndarray, how: int | str | None) -> MaskCache | None:
        cache = self.encode_mask(regions)
        if how is None or cache is None:
            return cache
        if how == "regions":
            return merge_regions(cache, torch.from_numpy(regions)[None], self.components.model.config.token_pixels)
        return merge_similar(cache, int(how))

    def _decode(self, latents: Tensor) -> np.ndarray:
        return to_pictures(torch.cat([self.components.codec.decode(one[None]) for one in latents]))

    def _picture(self, pixels: np.ndarray, asked: GenerationConfig, index: int, shared: dict[str, int]) -> Picture:
        scales = asked.guidance, asked.mask_guidance
        recipe = {
            "limner": __version__,
            "engine": "mditface",
            "source": self.name,
            **asked.to_recipe(),
            **shared,
            **({} if self.components.fixed else {"text_length": self.components.text_length}),
            "picture": index,
            "branches": len(branches(asked.has_words, asked.has_mask, *scales))
            if self.components.model.config.null_conditions
            else 1,
            "weights": self.weights(),
            "precision": str(self.components.model.image_in.weight.dtype).removeprefix("torch."),
            "device": self._device.type,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        ingredients = () if asked.mask is None else (map_ingredient(asked.mask),)
        return Picture(Image.fromarray(pixels), recipe, ingredients)


def together(config: GenerationConfig) -> tuple[Any, ...]:
    """What two requests must have in common to be painted in one batch."""
    return (*(getattr(config, name) for name in BATCH_SETTINGS), config.has_words, config.has_mask)


def region_map(mask: Mask, side: int, palette: str = "auto") -> np.ndarray:
    """A mask in any of its forms as region ids (side, side) uint8.

    palette: the label order of its numbers, or the palette of its colours: ``celebamask``, ``bisenet``, or ``auto``,
    which tells them by colours and places. A map that was mirrored without exchanging left and right is set right.

    A Face gives its own regions, aligned as faces are for training. A map of a whole photo, as ``limner read
    --regions`` writes it, is aligned by its eyes and mouth; an aligned one is only resized, without mixing labels.
    ``InputError`` for what is no region map, shows no face, or cannot be aligned.
    """
    if hasattr(mask, "regions") and hasattr(mask, "crop"):
        regions, crop = mask.regions, np.asarray(mask.crop, np.float64)  # type: ignore[union-attr]
        return warp(regions, crop * (side / 256), side, nearest=True)
    return align_map(read_region_map(mask, palette, drawn=True), side)  # type: ignore[arg-type]
