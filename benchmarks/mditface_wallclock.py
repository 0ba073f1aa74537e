"""What a mask costs, in seconds, with and without cache and merging; writes results/mditface-wallclock.json.

    python benchmarks/mditface_wallclock.py [--weights NAME] [--rounds 60] [--threads 2] [--precision bf16]

One process. In every round each way does one guided step of one picture (two evaluations in a batch), one after the
other in changing order, so that whatever else the machine does falls on all alike; then the medians count. A picture is

    none      28 steps without mask
    full      28 steps, the mask stream inside as it is trained, mask queries reading everything
    folded    the same without the time in the mask's modulation and with its corrections multiplied out
    uncached  28 steps, the mask stream decoupled, but run again for every evaluation
    cached    the mask encoded once, 28 steps that read its keys
    merged    the same with merged keys, the merging included

and the reduction is 1 - (cached - none) / (full - none). All but ``full`` run on the model as painters load it, with
the corrections folded; the reduction against ``folded`` is reported too. ``--clock cpu --threads 1`` counts processor
time instead, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from limner.evaluation.results import store_result
from limner.models.mditface.config import MDiTConfig
from limner.models.mditface.coupled_attention import coupled_velocity
from limner.models.mditface.embedding import Prompt
from limner.models.mditface.lora_fusion import fuse_mask_lora
from limner.models.mditface.mask_cache import encode_mask
from limner.models.mditface.token_merging import merge_similar
from limner.models.mditface.transformer import MaskFeatures, MDiT
from limner.weights.store import locate
from limner.weights.tensors import load_tensors
from mditface_flops import NANO_KEEP, drawn_face

STEPS = 28
SEED = 0
"""Of latents and words."""


def load(weights: str, dtype: torch.dtype) -> MDiT:
    """The transformer of a registry name or weight file."""
    tensors, header = load_tensors(locate(weights))
    model = MDiT(MDiTConfig.from_dict(header["model"]))
    model.load_state_dict(tensors)
    return model.to(dtype).eval().requires_grad_(False)


def static(model: MDiT, regions: Tensor) -> MaskFeatures:
    """The static path of a batch of maps."""
    cells = regions.shape[-1] // model.config.token_pixels
    return model.static_path(model.embed_mask(regions), (cells, cells))


@torch.no_grad()
def measure(model: MDiT, rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of every way's step, and of encoding and merging, per round."""
    config, trained, model = model.config, model, fuse_mask_lora(model)
    side = 256 // config.latent_factor
    latents = torch.randn(2, config.latent_channels, side, side)
    t = torch.full((2,), 0.5)
    prompt = Prompt(torch.randn(2, config.text_length, config.text_width), torch.randn(2, config.text_pooled))
    regions = drawn_face(256)[None]
    cache = encode_mask(model, regions)
    merged = merge_similar(cache, NANO_KEEP)
    ways: dict[str, Callable[[], object]] = {
        "none": lambda: model(latents, t, prompt),
        "full": lambda: coupled_velocity(trained, latents, t, prompt, regions, blind=False, timeless=False),
        "folded": lambda: coupled_velocity(model, latents, t, prompt, regions, blind=False),
        "uncached": lambda: model(latents, t, prompt, static(model, regions.expand(2, -1, -1))),
        "cached": lambda: model(latents, t, prompt, cache.features),
        "merged": lambda: model(latents, t, prompt, merged.features),
        "encode": lambda: encode_mask(model, regions),
        "merge": lambda: merge_similar(cache, NANO_KEEP),
    }
    for way in ways.values():
        way()
    order = list(ways)
    shuffler = random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        shuffler.shuffle(order)
        for name in order:
            start = clock()
            ways[name]()
            seconds[name].append(clock() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="mditface-nano")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--out", type=Path, default=Path("results/mditface-wallclock.json"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(SEED)
    model = load(given.weights, torch.bfloat16 if given.precision == "bf16" else torch.float32)
    clock = time.perf_counter if given.clock == "wall" else time.process_time
    step = {name: statistics.median(taken) for name, taken in measure(model, given.rounds, clock).items()}
    picture = {name: STEPS * step[name] for name in ("none", "full", "folded", "uncached", "cached", "merged")}
    picture["cached"] += step["encode"]
    picture["merged"] += step["encode"] + step["merge"]

    def reduction(whole: str) -> dict[str, float]:
        extra = picture[whole] - picture["none"]
        return {name: round(1 - (picture[name] - picture["none"]) / extra, 4) for name in ("cached", "merged")}

    options = f"--rounds {given.rounds} --threads {given.threads} --clock {given.clock} --precision {given.precision}"
    if given.weights != parser.get_default("weights"):
        options += f" --weights {given.weights}"
    figures = {
        "median seconds of a guided step": step,
        "seconds of a guided picture of 28 steps, without decoding": picture,
        "reduction of the mask's extra time": reduction("full"),
        "reduction against the folded stream inside": reduction("folded"),
    }
    settings = {
        "clock": given.clock,
        "precision": given.precision,
        "rounds": given.rounds,
        "threads": given.threads,
        "weights": given.weights,
    }
    store_result(given.out, f"python benchmarks/mditface_wallclock.py {options}", figures, SEED, settings)
    for name, value in picture.items():
        print(f"{name:<8}{value:8.3f} s a picture")
    for whole in ("full", "folded"):
        cut = reduction(whole)
        print(f"the extra time of {whole} is cut by {100 * cut['cached']:.1f} %, merged {100 * cut['merged']:.1f} %")


if __name__ == "__main__":
    main()
