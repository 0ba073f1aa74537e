"""What came of making pairs: how many survived, which ranges they cover; plots and a contact sheet."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from limner.data.pair_factors import FACTORS, MOTION, SPREADS
from limner.data.pairs import PairSet
from limner.data.shards import BLOCKS, iterate, read_shards
from limner.faces.picture import read_picture, save_png

_FACE, _INK = 160, (20, 20, 20)


def summarise(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Numbers of a pair set, ready for JSON: people, pictures, pairs, identity distances, ranges, what was dropped."""
    pairs = PairSet.open(folder, split=None)
    table = read_shards(folder, ["person", "variant", "identity_distance", "factors"])
    factors = np.array(table["factors"].to_pylist(), np.float64).reshape(table.num_rows, -1)
    variant = table["variant"].to_numpy()
    distance = table["identity_distance"].to_numpy()[variant > 0]
    markers = sorted((Path(folder) / BLOCKS).glob("*.json"))  # there before the whole set is
    errors = [error for path in markers for error in json.loads(path.read_text("utf-8"))["errors"]]
    # the figures in a reason, such as a distance, differ from picture to picture
    reasons = Counter(re.sub(r"\s[\d.]+(?=,)", " …", error["reason"]) for error in errors)
    change = np.abs(pairs.vectors["factors"][pairs.pairs[:, 0]] - pairs.vectors["factors"][pairs.pairs[:, 1]])
    dropped = sum(number for reason, number in reasons.items() if not reason.startswith("no other picture"))
    moved = int((variant > 0).sum())
    return {
        "people": len(set(table["person"].to_pylist())),
        "pictures": table.num_rows,
        "pairs": len(pairs) // 2,
        "survived": round(moved / max(moved + dropped, 1), 3),
        "identity_distance": _percentiles(distance),
        "dropped": dict(reasons.most_common()),
        "covered": {name: _percentiles(factors[:, k]) for k, name in enumerate(FACTORS)},
        "change_within_pairs": {name: _percentiles(change[:, k]) for k, name in enumerate(FACTORS)},
    }


def _percentiles(values: np.ndarray) -> dict[str, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return {}
    return {f"p{share}": round(float(np.percentile(known, share)), 3) for share in (1, 5, 50, 95, 99)}


def write_pair_plots(folder: str | os.PathLike[str], out: str | os.PathLike[str]) -> list[Path]:
    """Histograms of the factors over all pictures, and of the changes within pairs, as PNG files.

    Needs matplotlib (extra eval): ModuleNotFoundError without it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pairs = PairSet.open(folder, split=None)
    factors = pairs.vectors["factors"]
    a, b = factors[pairs.pairs[:, 0]], factors[pairs.pairs[:, 1]]
    paths = []
    for title, values, name in (
        ("all pictures", factors, "covered.png"),
        ("change within pairs", b - a, "changes.png"),
    ):
        figure = Figure((9, 7), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, (k, factor) in zip(figure.subplots(3, 3).flat, enumerate(MOTION)):
            axes.hist(values[:, k], bins=40)
            axes.set_title(f"{factor} (σ = {SPREADS[factor]:g})", fontsize=9)
            axes.tick_params(labelsize=7)
        figure.suptitle(title)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        path = Path(out) / name
        save_png(path, np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
        paths.append(path)
    return paths


def pair_sheet(folder: str | os.PathLike[str], people: int = 12, seed: int = 0) -> np.ndarray:
    """Some people, one a row, with all their pictures and what changed: (H, W, 3) uint8. `seed` says who."""
    names = sorted(set(read_shards(folder, ["person"])["person"].to_pylist()))
    chosen = [names[k] for k in np.random.default_rng(seed).permutation(len(names))[:people]]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    for row in iterate(folder, None, ["person", "image", "variant", "identity_distance", "factors"]):
        if row["person"] in found:
            found[row["person"]].append(row)
    columns = max(len(rows) for rows in found.values())
    sheet = Image.new("RGB", (columns * _FACE, len(chosen) * (_FACE + 30)), (255, 255, 255))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for y, rows in enumerate(found.values()):
        rows.sort(key=lambda row: row["variant"])
        for x, row in enumerate(rows):
            picture = Image.fromarray(read_picture(row["image"]["bytes"]))
            place = (x * _FACE, y * (_FACE + 30))
            sheet.paste(picture.resize((_FACE, _FACE), Image.Resampling.LANCZOS), place)
            draw.text((place[0] + 2, place[1] + _FACE + 1), _note(row, rows[0]), fill=_INK, font=font)
    return np.array(sheet)


def _note(row: dict[str, Any], first: dict[str, Any]) -> str:
    """The identity distance, and the three largest changes from the person's first picture, in standard deviations."""
    if row is first:
        return row["person"].rsplit("/", 1)[-1]
    steps = {name: (row["factors"][k] - first["factors"][k]) / SPREADS[name] for k, name in enumerate(MOTION)}
    largest = sorted(steps, key=lambda name: -abs(steps[name]))[:3]
    words = [f"{name} {steps[name]:+.1f}" for name in largest]
    return f"id {row['identity_distance']:.2f}  {words[0]}\n{'  '.join(words[1:])}"
