"""The suites of edits by their names, as `limner evaluate facex --suite` takes them."""

from __future__ import annotations

from collections.abc import Callable

from limner.evaluation.bench import Bench, Case, Record
from limner.evaluation.chains import mixed
from limner.evaluation.editing import inpaint, itself, reconstruct, reenact, same, sliders, swap, swap_head
from limner.evaluation.transplants import regions
from limner.evaluation.worn import erase

SUITES: dict[str, Callable[[Bench], tuple[Record, list[Case]]]] = {
    "swap": swap,
    "swap-head": swap_head,
    "reenact": reenact,
    "same": same,
    "reconstruct": reconstruct,
    "itself": itself,
    "sliders": sliders,
    "regions": regions,
    "erase": erase,
    "inpaint": inpaint,
    "mixed": mixed,
}
