"""The statistics of a set's words as plots and as one page that needs no other file."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.set_report import save_figure
from limner.data.stats import FAMILIES, compare, published
from limner.files import write_bytes_atomic

COLOURS = {"appearance": "#3b6ea8", "action": "#c96f2e", "emotion": "#4b9b63"}
_NAMED = 0.012  # share of the circle from which on a sector has room for its name

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .25rem .9rem; text-align: left; }
td + td, th + th { text-align: right; } tr + tr { border-top: 1px solid #ddd; } .published { color: #777; }
img { max-width: 100%; } figure { margin: 1.5rem 0; } figcaption, small { color: #666; }
"""


def write_word_plots(numbers: Mapping[str, Any], out: str | os.PathLike[str]) -> dict[str, Path]:
    """Plots of `word_statistics` as PNG files in a folder: name → file. Needs matplotlib (extra eval)."""
    from matplotlib.figure import Figure

    place = Path(out)
    plots = {
        "wheel": attribute_wheel(Figure, numbers["wheel"]),
        "tokens": _histogram(Figure, numbers, "tokens", 120),
        "attributes": _histogram(Figure, numbers, "attributes", 17.7),
        "kinds": _kinds(Figure, numbers["kinds"]),
    }
    return {name: save_figure(figure, place / f"{name}.png") for name, figure in plots.items()}


def attribute_wheel(figure_class: Any, wheel: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Any:
    """Sunburst: families inside, their attributes around them, values outside; angles are shares of all mentions."""
    figure = figure_class((10, 10))
    axes = figure.add_subplot(projection="polar")
    axes.set_axis_off()
    axes.set_theta_offset(np.pi / 2)
    axes.set_theta_direction(-1)
    total = sum(sum(values.values()) for family in FAMILIES for values in wheel[family].values())
    start = 0.0
    for family in FAMILIES:
        inner = start
        for attribute, values in sorted(wheel[family].items(), key=lambda item: -sum(item[1].values())):
            middle = start
            for k, (value, count) in enumerate(values.items()):
                width = count / total
                alpha = max(0.25, 0.75 - 0.12 * k)
                _sector(axes, start, width, (2.0, 1.0), COLOURS[family], alpha, value, 6)
                start += width
            _sector(axes, middle, start - middle, (1.0, 1.0), COLOURS[family], 0.8, attribute.replace("_", " "), 7)
        _sector(axes, inner, start - inner, (0.3, 0.7), COLOURS[family], 1.0, family, 9)
    axes.set_ylim(0, 3.05)
    return figure


def _sector(
    axes: Any, start: float, width: float, ring: tuple[float, float], colour: str, alpha: float, name: str, size: int
) -> None:
    """One sector from `start` over `width` (shares of the circle) on a ring (inner radius, thickness)."""
    middle = 2 * np.pi * (start + width / 2)
    axes.bar(middle, ring[1], 2 * np.pi * width, ring[0], color=colour, alpha=alpha, edgecolor="white", linewidth=0.4)
    if width < _NAMED:
        return
    turn = 90 - np.degrees(middle)
    turn += 180 if middle > np.pi else 0
    axes.text(
        middle, ring[0] + ring[1] / 2, name, rotation=turn, rotation_mode="anchor", ha="center", va="center",
        fontsize=size,
    )  # fmt: skip


def _histogram(figure_class: Any, numbers: Mapping[str, Any], name: str, reference: float) -> Any:
    figure = figure_class((7, 4))
    axes = figure.subplots()
    counts = numbers["histograms"][name]
    axes.bar([int(number) for number in counts], list(counts.values()), width=1.0, color=COLOURS["appearance"])
    mean = numbers[f"{name}_per_caption"].get("mean")
    if mean is not None:
        axes.axvline(mean, color="black", label=f"measured mean {mean:.1f}")
    axes.axvline(reference, color="grey", linestyle="--", label=f"published mean of UniF²aceD-1M {reference:g}")
    axes.set(xlabel=f"{name} per caption", ylabel="captions")
    axes.legend()
    return figure


def _kinds(figure_class: Any, kinds: Mapping[str, int]) -> Any:
    figure = figure_class((7, 4))
    axes = figure.subplots()
    axes.bar(list(kinds), list(kinds.values()), color=COLOURS["action"])
    axes.set(ylabel="questions", title="Kinds of questions")
    return figure


def write_page(numbers: Mapping[str, Any], plots: Mapping[str, Path], path: str | os.PathLike[str], title: str) -> None:
    """One HTML file with the table, measured and published apart, and the plots inside it."""
    reference = published()["UniF2aceD-1M"]
    rows = "".join(
        f'<tr><td>{html.escape(name)}</td><td>{ours}</td><td class="published">{theirs}</td></tr>'
        for name, ours, theirs in compare(dict(numbers))
    )
    figures = "".join(
        f'<figure><img alt="{name}" src="data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}">'
        f"<figcaption>{_CAPTIONS[name]}</figcaption></figure>"
        for name, file in plots.items()
    )
    openings = "".join(
        f"<tr><td>{html.escape(words)} …</td><td>{count:,}</td></tr>" for words, count in numbers["openings"].items()
    )
    page = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>
<h1>{html.escape(title)}</h1>
<table><tr><th></th><th>this set, measured</th><th class="published">UniF²aceD-1M, published</th></tr>{rows}</table>
<p><small>Published: {html.escape(reference["source"])}; {html.escape(reference["note"])}. Measured: tokens are
words and punctuation marks; attributes are the facts a caption states.</small></p>
{figures}
<h2>How questions begin</h2><table>{openings}</table>
</html>
"""
    write_bytes_atomic(path, page.encode())


_CAPTIONS = {
    "wheel": "What captions speak of: families, attributes, values; angles are shares of all mentions.",
    "tokens": "Length of captions.",
    "attributes": "Facts stated by a caption.",
    "kinds": "Kinds of questions.",
}
