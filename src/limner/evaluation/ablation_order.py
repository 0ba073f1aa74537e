"""Whether the rows of an ablation come in the paper's order: scales and judges differ, so only that compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limner.evaluation.ablation_runner import PUBLISHED, Variant, tables


def compare_orders(
    summary: Mapping[str, Any], variants: Sequence[Variant], compared: Mapping[str, tuple[str, bool]]
) -> dict[str, Any]:
    """Table → the paper's figure → its order of the rows, best first, and ours by the mean over seeds.

    compared: the paper's figure → ours that stands for it, and whether more is better. same: whether they are one
    order. pairs: how many pairs of rows there are; alike: of how many the better one is the paper's; apart: of how many
    of those the values of all seeds lie on the paper's side. Rows without the figure are left out, and an order of
    fewer than two rows is none.
    """
    orders: dict[str, Any] = {}
    for table in tables(variants):
        for published, (figure, more) in compared.items():
            rows = [
                v for v in variants
                if v.table == table and published in v.published and figure in summary.get(v.name, {})
            ]  # fmt: skip
            if len(rows) < 2:
                continue
            sign = -1 if more else 1  # less is better of all below
            paper = [v.name for v in sorted(rows, key=lambda v: sign * v.published[published])]
            means = {name: sign * summary[name][figure]["mean"] for name in paper}
            values = {name: [sign * value for value in summary[name][figure]["values"]] for name in paper}
            pairs = [(a, b) for k, a in enumerate(paper) for b in paper[k + 1 :]]
            alike = [(a, b) for a, b in pairs if means[a] < means[b]]
            orders.setdefault(table, {})[published] = {
                "by": figure,
                "paper": paper,
                "ours": sorted(means, key=lambda name: means[name]),
                "same": len(alike) == len(pairs),
                "pairs": len(pairs),
                "alike": len(alike),
                "apart": sum(max(values[a]) < min(values[b]) for a, b in alike),
            }
    return orders


def spell_orders(orders: Mapping[str, Any]) -> str:
    """A line for each order: is it the paper's, and in how many pairs of rows."""
    return "\n".join(
        f"{table}, {found['by']} for the paper's {PUBLISHED[published]}: "
        f"paper's order: {'yes' if found['same'] else 'no'} "
        f"({found['alike']} of {found['pairs']} pairs, {found['apart']} of them beyond the spread over seeds)"
        for table, each in orders.items()
        for published, found in each.items()
    )
