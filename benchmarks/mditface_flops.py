"""What a mask costs, in FLOPs, with and without cache and merging; writes results/mditface-flops.json.

    python benchmarks/mditface_flops.py [--out results/mditface-flops.json]

Counted with torch.utils.flop_counter on meta tensors, so nothing is computed and FLUX.1's sizes fit. Over the T
evaluations that share a mask (guided nano: 28 steps x 2; FLUX.1-dev, whose guidance is distilled: 28 a picture),

    full     the mask stream rides along: mask queries read everything, at every evaluation
    cached   the static path once, then dynamic queries read its keys
    merged   as cached, with merged keys

each minus the same T evaluations without a mask; the reduction is 1 - cached / full. The map that decides how many
tokens merging leaves is drawn (see `drawn_face`), 256 pixels scaled to the picture's size.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from limner.evaluation.results import store_result
from limner.faces.regions import Region
from limner.models.mditface.config import FLUX_DEV, FLUX_SCHNELL, NANO, MDiTConfig
from limner.models.mditface.coupled_attention import coupled_velocity
from limner.models.mditface.embedding import Prompt
from limner.models.mditface.token_merging import interior_groups
from limner.models.mditface.transformer import MaskFeatures, MDiT

REAL_TEXT = 64
"""Text tokens without most of the padding to 512: some 45 English words (our choice of a row to show)."""
DEV, SCHNELL = (FLUX_DEV, "FLUX.1-dev"), (FLUX_SCHNELL, "FLUX.1-schnell")
FLUX_ROWS = [
    *((*DEV, size, text, 28, 1) for size in (256, 512, 1024) for text in (512, REAL_TEXT)),
    (*DEV, 512, REAL_TEXT, 28, 4),
    (*DEV, 512, REAL_TEXT, 28, 8),
    (*DEV, 1024, REAL_TEXT, 28, 4),
    (*SCHNELL, 512, 256, 4, 1),
    (*SCHNELL, 512, REAL_TEXT, 4, 8),
]
"""Configuration, name, pixels, text tokens, steps, and pictures that share a mask and its cache."""
NANO_KEEP = 16
"""Mask tokens per layer that merging leaves at nano, of 64."""


def measure(config: MDiTConfig, size: int, text: int, evaluations: int, kept: int, merging: str) -> dict[str, Any]:
    """FLOPs of one whole picture, batch 1 per evaluation."""
    config = replace(config, text_length=text)
    with torch.device("meta"):
        model = MDiT(config).to(torch.bfloat16)
        side = size // config.latent_factor
        latents = torch.empty(1, config.latent_channels, side, side, dtype=torch.bfloat16)
        t = torch.empty(1)
        prompt = Prompt(torch.empty(1, text, config.text_width), torch.empty(1, config.text_pooled))
        guidance = torch.empty(1) if config.guidance_embed else None
        cells = side // config.patch
        mask = latents if config.mask_embedding == "palette" else None
        embedded = torch.empty(1, cells * cells, config.width, dtype=torch.bfloat16)
        # the label embedding cannot run on meta (it checks its labels): count its two products in closed form
        shares = (config.token_pixels // config.mask_cell) ** 2 * config.mask_classes
        embedding = 0 if mask is not None else 2 * cells**2 * config.width * (shares + config.width)

        def forward(features: MaskFeatures | None) -> None:
            model(latents, t, prompt, features, guidance)

        features = model.static_path(embedded, (cells, cells))
        layers = len(features.keys)
        fewer = MaskFeatures(
            tuple(k[:, :, :kept] for k in features.keys),
            tuple(v[:, :, :kept] for v in features.values),
            torch.empty(layers, 1, kept),
        )
        none = count(lambda: forward(None))
        static = count(lambda: model.static_path(embedded, (cells, cells)))
        cached = count(lambda: forward(features))
        merged = count(lambda: forward(fewer))
        full = count(lambda: coupled(model, latents, t, prompt, embedded, guidance, blind=False))
        blind = count(lambda: coupled(model, latents, t, prompt, embedded, guidance, blind=True))
    distance = 2 * cells**4 * 2 * config.width * config.blocks if merging == "similar" else 0
    once = static + embedding
    extra = {
        "full": evaluations * (full + embedding - none),
        "decoupled, not cached": evaluations * (blind + embedding - none),
        "cached": once + evaluations * (cached - none),
        "merged": once + distance + evaluations * (merged - none),
    }
    return {
        "pixels": size,
        "image tokens": cells**2,
        "mask tokens": cells**2,
        "mask tokens after merging": kept,
        "merging": merging,
        "text tokens": text,
        "evaluations": evaluations,
        "flops of one evaluation without mask": none,
        "extra flops of the mask, whole picture": extra,
        "reduction": {
            "cached": round(1 - extra["cached"] / extra["full"], 5),
            "merged": round(1 - extra["merged"] / extra["full"], 5),
            "cached, against decoupled but not cached": round(1 - extra["cached"] / extra["decoupled, not cached"], 5),
            "merged, against decoupled but not cached": round(1 - extra["merged"] / extra["decoupled, not cached"], 5),
            "cached, steady state": round(1 - (cached - none) / (full + embedding - none), 5),
        },
    }


def coupled(
    model: MDiT, latents: Tensor, t: Tensor, prompt: Prompt, embedded: Tensor, guidance: Tensor | None, blind: bool
) -> None:
    """One evaluation with the mask stream inside, from embedded mask tokens."""
    given = {"guidance": guidance} if guidance is not None else {}
    coupled_velocity(model, latents, t, prompt, embedded, **given, blind=blind, timeless=blind)


def count(run) -> int:
    """FLOPs of all matrix products in ``run``."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


def drawn_face(size: int) -> Tensor:
    """A plain long-haired face, uint8 (size, size): ellipses and bars in proportions of FFHQ's alignment."""
    y, x = np.mgrid[:size, :size] / size * 256 + 0.5
    out = np.zeros((size, size), np.uint8)
    out[np.hypot((x - 128) / 92, (y - 120) / 108) < 1] = Region.HAIR
    out[(y > 215 - np.abs(x - 128) * -0.15) & (np.abs(x - 128) < 112)] = Region.CLOTH
    out[(np.abs(x - 128) < 34) & (y > 180) & (y < 236)] = Region.NECK
    out[np.hypot((x - 128) / 62, (y - 140) / 80) < 1] = Region.SKIN
    for side, brow, eye in ((-1, Region.RIGHT_BROW, Region.RIGHT_EYE), (1, Region.LEFT_BROW, Region.LEFT_EYE)):
        out[(np.abs(x - 128 - side * 31) < 18) & (np.abs(y - 101) < 3)] = brow
        out[np.hypot((x - 128 - side * 31) / 13, (y - 115) / 6) < 1] = eye
    out[np.hypot((x - 128) / 17, (y - 143) / 24) < 1] = Region.NOSE
    out[np.hypot((x - 128) / 26, (y - 184) / 7) < 1] = Region.UPPER_LIP
    out[(np.hypot((x - 128) / 24, (y - 187) / 9) < 1) & (y > 186)] = Region.LOWER_LIP
    return torch.from_numpy(out)


def table() -> list[dict[str, Any]]:
    """All rows of the results."""
    rows = [{"model": "nano", "pictures": 1, **measure(NANO, 256, 32, 56, NANO_KEEP, "similar")}]
    for config, name, size, text, steps, pictures in FLUX_ROWS:
        groups = interior_groups(drawn_face(size), config.token_pixels)
        row = measure(config, size, text, steps * pictures, int(groups.max()) + 1, "regions")
        rows.append({"model": name, "pictures": pictures, **row})
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table as it stands in docs/mditface.md."""
    heads = ("model", "pixels", "text tokens", "mask tokens", "evaluations", "pictures", "cached", "merged", "steady")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        tokens = f"{row['mask tokens']} → {row['mask tokens after merging']}"
        kinds = ("cached", "merged", "cached, steady state")
        figures = " | ".join(f"{100 * row['reduction'][key]:.1f} %" for key in kinds)
        cells = (
            row["model"], row["pixels"], row["text tokens"], tokens, row["evaluations"], row["pictures"], figures,
        )  # fmt: skip
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/mditface-flops.json"))
    out = parser.parse_args().out
    rows = table()
    settings = {"nano": NANO.to_dict(), "FLUX.1-dev": FLUX_DEV.to_dict(), "keys kept at nano": NANO_KEEP}
    store_result(out, "python benchmarks/mditface_flops.py", {"rows": rows}, seed=None, settings=settings)
    print(markdown(rows))


if __name__ == "__main__":
    main()
