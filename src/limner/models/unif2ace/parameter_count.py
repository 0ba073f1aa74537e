"""Parameters of a configuration, part by part: ``python -m limner.models.unif2ace.parameter_count [PRESET …]``.

Built on the meta device, so the 1.8 B need no memory.
"""

from __future__ import annotations

import sys

import torch

from .config import PRESETS, UniF2aceConfig, preset
from .transformer import UniF2aceTransformer

PARTS = {
    "token embedding and head": ("embed.", "head.", "places"),
    "attention and norms": (".attention.", ".norm.", "norm."),
    "shared experts": (".shared.",),
    "routed experts, understanding": (".routed.understand.",),
    "routed experts, painting": (".routed.paint.",),
    "sequence level": (".sequence.",),
    "resamplers and mask ratio": ("clip_in.", "face_in.", "ratio_in."),
}


def breakdown(config: UniF2aceConfig) -> dict[str, int]:
    """Parameters by part; every parameter is in one part."""
    with torch.device("meta"):
        model = UniF2aceTransformer(config)
    counts = dict.fromkeys(PARTS, 0)
    order = sorted(PARTS, key=lambda part: part == "attention and norms")  # its names are the most general
    for name, parameter in model.named_parameters():
        part = next(p for p in order if any(name.startswith(k) or (k[0] == "." and k in name) for k in PARTS[p]))
        counts[part] += parameter.numel()
    return counts


def active(config: UniF2aceConfig) -> int:
    """Parameters that one token of one group passes through: k routed experts, one group's sequence level."""
    counts = breakdown(config)
    routed = counts["routed experts, painting"]
    shared = counts["shared experts"] // config.shared_experts
    left = routed * config.token_top_k // max(config.token_experts, 1) + counts["sequence level"] // 2
    return counts["token embedding and head"] + counts["attention and norms"] + shared + left


def table(name: str) -> str:
    """The breakdown of one preset as lines of text."""
    config = preset(name)
    counts = breakdown(config)
    total = sum(counts.values())
    lines = [f"{name}: {total:,} parameters, {active(config):,} of them active for a token"]
    lines += [f"  {part:<32}{count:>15,}  {count / total:6.1%}" for part, count in counts.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print("\n".join(table(name) for name in sys.argv[1:] or PRESETS))
