"""Figures of UniF²ace's suites as a table beside what the paper publishes, and as bars by kind and by attribute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limner.evaluation.published import reference

MODEL = "UniF²ace"
PUBLISHED = {
    "answers": ("Conv-GPT", "Conv-DS"),
    "captions": ("Desc-GPT", "Desc-DS"),
    "painting": ("FID", "VQAscore-CF5", "VQAscore-LV", "VLM-score"),
    "phrasings": (),
    "prompted": (),
    "refusals": (),
}
"""Suite → the paper's figures of that task. None of them is one of ours: their judges are others, and FID is taken in
Inception's features."""

Bars = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Title → series → name → share (0..1)."""


def published_for(suite: str) -> dict[str, float]:
    """The paper's figures for UniF²ace in the task of a suite."""
    return {metric: models[MODEL] for metric, models in reference(*PUBLISHED[suite]).items()}


def table_rows(suite: str, figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rows "figure, ours, published": ours first, then the paper's, which have no cell of ours beside them."""
    ours = {
        "answers": _answers,
        "captions": _captions,
        "painting": _painting,
        "phrasings": _phrasings,
        "prompted": _prompted,
        "refusals": _refusals,
    }[suite](figures)
    return [(name, _shown(value), "") for name, value in ours.items()] + [
        (metric, "", f"{value:g}") for metric, value in published_for(suite).items()
    ]


def bars(suite: str, figures: Mapping[str, Any]) -> Bars:
    """What is drawn of a suite."""
    if suite == "answers":
        kinds = figures["kinds"]
        by_kind = {"right": _each(kinds, "right"), "commonest answer": _each(kinds, "commonest_answer_right")}
        return {"right by kind": by_kind, "right by attribute": {"right": _each(figures["attributes"], "right")}}
    if suite == "captions":
        found = figures["attributes"]
        by_attribute = {"precision": _each(found, "precision"), "recall": _each(found, "recall")}
        whole = {name: _each({k: figures[k] for k in ("model", "short", "full", "set")}, name) for name in by_attribute}
        return {"claims by kind of caption": whole, "claims of long captions by attribute": by_attribute}
    if suite == "painting":
        shares = {name: share for name, share in figures["alignment"].items() if ": " not in name}
        classes = {name: share for name, share in figures["alignment"].items() if ": " in name}
        return {"wishes granted by attribute": {"alignment": shares}, "by value": {"alignment": classes}}
    if suite == "phrasings":
        found = figures["attributes"]
        return {"right by attribute": {name: _each(found, name) for name in ("own_words", "other_words")}}
    if suite == "refusals":
        return {"declined, of the questions declined least": {"declined": figures["refused_least"]}}
    return {
        f"right, {source}": {
            "right": _each(_attributes(found), "right"),
            "commonest answer": _each(_attributes(found), "commonest_answer_right"),
        }
        for source, found in figures.items()
    }


def _refusals(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: figures[name] for name in ("faces", "questions", "topics")} | {"declined": figures["refused"]}


def _phrasings(figures: Mapping[str, Any]) -> dict[str, Any]:
    names = {"own_words": "right, in the set's words", "other_words": "right, in words no training text has"}
    return {name: figures[name] for name in ("faces", "questions")} | {names[key]: figures[key] for key in names}


def draw_bars(found: Bars, file: Path) -> None:
    """One panel below the other, lying bars from 0 to 1, a colour a series."""
    from matplotlib.figure import Figure

    from limner.data.set_report import save_figure

    panels = {title: series for title, series in found.items() if any(series.values())}
    sizes = [max(len(values) for values in series.values()) * len(series) for series in panels.values()]
    figure = Figure((8, sum(1.1 + 0.2 * size for size in sizes)))
    columns = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": [1 + s for s in sizes]})
    for axes, (title, series) in zip(columns[:, 0], panels.items(), strict=True):
        names = list(dict.fromkeys(name for values in series.values() for name in values))[::-1]
        height = 0.8 / len(series)
        for k, (label, values) in enumerate(series.items()):
            places = [names.index(name) - k * height for name in values]
            axes.barh(places, list(values.values()), height, label=label)
        axes.set(xlim=(0, 1), title=title)
        axes.set_yticks([k - 0.4 + height / 2 for k in range(len(names))], [n.replace("_", " ") for n in names])
        axes.tick_params(labelsize=7)
        if len(series) > 1:
            axes.legend(fontsize=7)
    save_figure(figure, file)


def _answers(figures: Mapping[str, Any]) -> dict[str, Any]:
    rows = {"faces": figures["faces"], "questions": figures["questions"]}
    rows |= {"right, where it can be answered": figures["answerable_right"]}
    rows |= {"… by the commonest answer": figures["answerable_commonest"]}
    rows |= {"refused where it can be answered": figures["refused_though_answerable"]}
    for kind, found in figures["kinds"].items():
        rows |= {f"right: {kind}": found["right"]}
    return rows


def _captions(figures: Mapping[str, Any]) -> dict[str, Any]:
    rows: dict[str, Any] = {"faces": figures["faces"]}
    for key, name in (("model", "long"), ("short", "short"), ("full", "full"), ("set", "the set's own")):
        rows |= {f"{name}: {figure.replace('_', ' ')}": value for figure, value in figures[key].items()}
    return rows


def _painting(figures: Mapping[str, Any]) -> dict[str, Any]:
    near = figures["fidelity"]
    return {
        "prompts": figures["prompts"],
        "wishes granted": figures["alignment"].get("all"),
        "faces": near["painted"],
        "Fréchet distance, lite0": near["frechet"],
        "… of unseen and seen faces": near["frechet_between_unseen_and_seen"],
        "kernel distance × 1000, lite0": near["kernel_times_1000"],
        "… of unseen and seen faces × 1000": near["kernel_times_1000_between_unseen_and_seen"],
    }


def _prompted(figures: Mapping[str, Any]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for source, found in figures.items():
        rows[f"{source}: portraits"] = found["portraits"]
        for name, each in _attributes(found).items():
            rows[f"{source}: {name.replace('_', ' ')} right"] = each["right"]
            rows[f"{source}: {name.replace('_', ' ')} by the commonest answer"] = each["commonest_answer_right"]
    return rows


def _attributes(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in found.items() if isinstance(each, Mapping)}


def _each(found: Mapping[str, Any], figure: str) -> dict[str, float]:
    return {name: each[figure] for name, each in found.items() if each.get(figure) is not None}


def _shown(value: Any) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
