"""Looking at a built set: contact sheet, statistics, plots."""

from __future__ import annotations

import json
import os
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from limner.data.shards import ERRORS, MANIFEST, iterate, read_shards, unpack_attributes
from limner.faces.picture import read_picture, read_region_map, save_png
from limner.faces.regions import colourise
from limner.words.grammar import count_tokens, spoken

_FACE, _TEXT, _GAP = 192, 320, 12  # pixels of the contact sheet
_INK, _PAPER, _GREY = (20, 20, 20), (255, 255, 255), (110, 110, 110)


def contact_sheet(folder: str | os.PathLike[str], count: int = 24, columns: int = 2, seed: int = 0) -> np.ndarray:
    """Faces of a built set, each with its regions laid over it, captions and questions: (H, W, 3) uint8.

    The faces are drawn at random by `seed`; the same set and seed give the same sheet.
    """
    total = read_shards(folder, ["id"]).num_rows
    chosen = set(np.random.default_rng(seed).permutation(total)[:count].tolist())
    wanted = ["id", "image", "regions", "captions", "prompts", "questions", "attributes"]
    cells = [_cell(row) for k, row in enumerate(iterate(folder, None, wanted)) if k in chosen]
    width, height = cells[0].shape[1], cells[0].shape[0]
    rows = -(-len(cells) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for k, cell in enumerate(cells):
        y, x = k // columns * height, k % columns * width
        sheet[y : y + height, x : x + width] = cell
    return sheet


def _cell(row: Mapping[str, Any]) -> np.ndarray:
    picture = read_picture(row["image"]["bytes"])
    regions = read_region_map(row["regions"]["bytes"])
    mixed = np.where(regions[..., None] > 0, 0.45 * picture + 0.55 * colourise(regions), picture).astype(np.uint8)
    cell = Image.new("RGB", (2 * _FACE + 2 * _TEXT + 3 * _GAP, _FACE + 68), _PAPER)
    for k, image in enumerate((picture, mixed)):
        cell.paste(Image.fromarray(image).resize((_FACE, _FACE), Image.Resampling.LANCZOS), (k * _FACE + 4 * k, 0))
    draw = ImageDraw.Draw(cell)
    small, text = ImageFont.load_default(11), ImageFont.load_default(12)
    draw.text((0, _FACE + 3), row["id"], fill=_GREY, font=small)
    found = unpack_attributes(row["attributes"])
    facts = ", ".join(_fact(name, a.value) for name, a in found.items() if a.confidence >= 0.6)
    draw.multiline_text((0, _FACE + 18), _wrap(facts, 82, 4), fill=_GREY, font=ImageFont.load_default(9), spacing=1)
    lines = [*(row["captions"] or [])[:1], *(f"» {prompt}" for prompt in (row["prompts"] or [])[:3])]
    draw.multiline_text(
        (2 * _FACE + _GAP, 0), "\n".join(_wrap(t, 52, 9) for t in lines), fill=_INK, font=text, spacing=2
    )
    asked = [f"{q['question']} {q['answer']}" for q in (row["questions"] or [])[:8]]
    left = 2 * _FACE + _TEXT + 2 * _GAP
    draw.multiline_text((left, 0), "\n".join(_wrap(t, 52, 2) for t in asked), fill=_INK, font=text, spacing=2)
    return np.array(cell)


def _fact(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name} {value:.0f}" if isinstance(value, float) else f"{name} {value}"


def _wrap(text: str, width: int, lines: int) -> str:
    return "\n".join(textwrap.wrap(text.replace("_", " "), width, max_lines=lines, placeholder=" …"))


def statistics(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Numbers of a built set, ready for JSON: rows, attributes, lengths (to two places), kinds, repeated captions."""
    columns = ["split", "source", "attributes", "captions", "prompts", "questions", "stated", "w"]
    splits: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    yes_no: Counter[str] = Counter()
    values: dict[str, Counter[str]] = {}
    confidence: dict[str, list[float]] = {}
    lengths: dict[str, list[int]] = {"captions": [], "prompts": []}
    stated: list[int] = []
    texts: Counter[str] = Counter()
    attributes_per_face: list[int] = []
    with_w = 0
    for row in iterate(folder, None, columns):
        splits[row["split"]] += 1
        sources[row["source"]] += 1
        with_w += row["w"] is not None
        found = unpack_attributes(row["attributes"])
        attributes_per_face.append(len(found))
        for name, attribute in found.items():
            value = attribute.value
            bucket = f"{10 * int(value // 10)}s" if name == "age" and isinstance(value, float | int) else spoken(value)
            values.setdefault(name, Counter())[bucket] += 1
            confidence.setdefault(name, []).append(attribute.confidence)
        for kind in lengths:
            lengths[kind] += [count_tokens(text) for text in row[kind]]
        texts.update(row["captions"])
        stated += [len(json.loads(entry["facts"])) for entry in row["stated"][: len(row["captions"])]]
        kinds.update(question["kind"] for question in row["questions"])
        yes_no.update(q["value"] for q in row["questions"] if q["kind"] == "yes/no")
    rows = sum(splits.values())
    return {
        "rows": rows,
        "splits": dict(splits),
        "sources": dict(sources),
        "with_w": with_w,
        "errors": _count_lines(Path(folder) / ERRORS),
        "attributes_per_face": summary(attributes_per_face),
        "attributes": {
            name: {
                "faces": sum(counted.values()) / max(rows, 1),
                "confidence": round(float(np.mean(confidence[name])), 3),
                "values": {value: round(number / sum(counted.values()), 4) for value, number in counted.most_common()},
            }
            for name, counted in sorted(values.items())
        },
        "tokens": {kind: summary(numbers) for kind, numbers in lengths.items()},
        "facts_per_caption": summary(stated),
        "captions": sum(texts.values()),
        "different_captions": len(texts),
        "questions": dict(kinds),
        "yes_no": dict(yes_no),
        "made": json.loads((Path(folder) / MANIFEST).read_text("utf-8")),
    }


def summary(numbers: Sequence[float]) -> dict[str, float]:
    """Mean, 5th, 50th and 95th percentile, to two places; {} of nothing."""
    if not numbers:
        return {}
    low, mid, high = np.percentile(numbers, (5, 50, 95))
    found = {"mean": np.mean(numbers), "p5": low, "median": mid, "p95": high}
    return {name: round(float(value), 2) for name, value in found.items()}


def _count_lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines()) if path.is_file() else 0


def write_plots(numbers: Mapping[str, Any], folder: str | os.PathLike[str], out: str | os.PathLike[str]) -> list[Path]:
    """Plots of `statistics` as PNG files in `out`: attributes, caption lengths, question kinds, confidence.

    Needs matplotlib (extra eval): ModuleNotFoundError without it.
    """
    from matplotlib.figure import Figure

    place = Path(out)

    def save(figure: Figure, name: str) -> Path:
        return save_figure(figure, place / name)

    attributes = numbers["attributes"]
    paths = [save(_attribute_figure(Figure, attributes), "attributes.png")]
    figure = Figure((7, 4))
    axes = figure.subplots()
    for kind in ("captions", "prompts"):
        counts = [count_tokens(text) for row in iterate(folder, None, [kind]) for text in row[kind]]
        axes.hist(counts, bins=range(0, 145, 5), alpha=0.7, label=f"{kind} ({len(counts):,})")
    axes.set(xlabel="tokens", ylabel="texts", title="Length of captions and prompts")
    axes.legend()
    paths.append(save(figure, "lengths.png"))
    figure = Figure((7, 4))
    axes = figure.subplots()
    kinds = numbers["questions"]
    axes.bar(list(kinds), list(kinds.values()))
    yes, no = numbers["yes_no"].get("yes", 0), numbers["yes_no"].get("no", 0)
    axes.set(ylabel="questions", title=f"Question kinds (yes/no: {yes:,} yes, {no:,} no)")
    paths.append(save(figure, "questions.png"))
    figure = Figure((7, max(3, 0.2 * len(attributes))))
    axes = figure.subplots()
    order = sorted(attributes, key=lambda name: attributes[name]["confidence"])
    axes.barh(order, [attributes[name]["confidence"] for name in order])
    axes.set(xlim=(0, 1), title="Mean confidence")
    axes.tick_params(labelsize=7)
    paths.append(save(figure, "confidence.png"))
    return paths


def save_figure(figure: Any, path: Path) -> Path:
    """Draw a matplotlib figure into a PNG file, and return its path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.tight_layout()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    save_png(path, np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
    return path


def _attribute_figure(figure_class: Any, attributes: Mapping[str, Any]) -> Any:
    """One stacked bar an attribute: which share of the faces has which value."""
    figure = figure_class((10, max(3, 0.28 * len(attributes))))
    axes = figure.subplots()
    names = sorted(attributes, reverse=True)
    for y, name in enumerate(names):
        left = 0.0
        for k, (value, share) in enumerate(attributes[name]["values"].items()):
            width = share * attributes[name]["faces"]
            axes.barh(y, width, left=left, color=f"C{k % 10}", edgecolor="white", linewidth=0.5)
            if width > 0.07:
                axes.text(left + width / 2, y, value, ha="center", va="center", fontsize=6)
            left += width
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set(xlim=(0, 1), ylim=(-0.6, len(names) - 0.4), title="Attributes: share of faces with each value")
    return figure
