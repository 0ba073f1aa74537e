"""The suites of edits by their names, as `limner evaluate facex --suite` takes them."""

from __future__ import annotations

from collections.abc import Callable

from limner.evaluation.accessory_removal import erase
from limner.evaluation.combined_edits import mixed
from limner.evaluation.edit_benchmark import Case, EditBenchmark, Record
from limner.evaluation.edit_suites import inpaint, itself, reconstruct, reenact, same, sliders, swap, swap_head
from limner.evaluation.region_transfer import regions

SUITES: dict[str, Callable[[EditBenchmark], tuple[Record, list[Case]]]] = {
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
