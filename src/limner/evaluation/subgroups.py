"""How well reading and painting do by perceived group: what is at hand, measured apart for each.

A group is the reader's own guess about a photograph, or what a prompt asked for; it is nobody's identity. The guesses
are the weakest part: where the reader takes a woman for a man, her photograph counts among the men's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from limner.errors import InputError
from limner.evaluation.llm_judge import summarise
from limner.faces.data_folders import data_root
from limner.faces.parse_data import read_pair
from limner.faces.parse_task import confusion, figures, reduce, split_pairs
from limner.faces.reader import FaceReader
from limner.faces.record import Face
from limner.faces.regions import REGION_NAMES, Region
from limner.progress import ProgressCallback

ATTRIBUTES = ("gender_presentation", "age_group", "skin_tone")
SHARED = ("skin", "nose", "left_eye", "right_eye", "left_brow", "right_brow", "upper_lip", "lower_lip")
"""Regions that faces of every group have: rarer ones (hats, necklaces) would say what a group wears."""
GLASSES_PIXELS = 30  # from which on a drawn map is called one with glasses
FEWEST = 20  # faces or prompts under which a group is stored, but not shown
BATCH = 8
BEGIN, END = "<!-- groups -->", "<!-- /groups -->"


def measure_reading(pairs: str, count: int, progress: ProgressCallback) -> dict[str, Any]:
    """Read labelled photographs that no weights have seen, and hold regions and glasses to the labels, by group.

    pairs: folder of aligned faces with hand-drawn regions, relative to LIMNER_DATA; its last ``count`` by name. Photos
    in which no face is found are counted, and have no group.
    """
    reader = FaceReader.load()
    held_out = split_pairs(data_root() / pairs, 0, count)["test"]
    rows = []
    for start in range(0, len(held_out), BATCH):
        labelled = [reduce(*read_pair(*pair)) for pair in held_out[start : start + BATCH]]
        faces = reader.read_crops(np.stack([picture for picture, _ in labelled]))
        rows += [(face, truth) for face, (_, truth) in zip(faces, labelled, strict=True)]
        progress(min(start + BATCH, len(held_out)), len(held_out))
    found = [(face, truth) for face, truth in rows if face is not None]
    groups = {
        name: {value: read_figures(members) for value, members in _by(name, found).items()} for name in ATTRIBUTES
    }
    return {
        "photographs": len(rows), "without a face": len(rows) - len(found), "all": read_figures(found), **groups
    }  # fmt: skip


def _by(name: str, found: Iterable[tuple[Face, np.ndarray]]) -> dict[str, list[tuple[Face, np.ndarray]]]:
    """Faces by the value of an attribute; "not sure" for those that the reader says nothing of."""
    members: dict[str, list[tuple[Face, np.ndarray]]] = defaultdict(list)
    for face, truth in found:
        attribute = face.attributes.get(name)
        members["not sure" if attribute is None else str(attribute.value)].append((face, truth))
    return dict(sorted(members.items()))


def read_figures(members: list[tuple[Face, np.ndarray]]) -> dict[str, Any]:
    """Of faces and their drawn maps (256, 256): share of pixels labelled alike (mean of photographs, 95 % interval),
    mean F1 of the regions all have, and how often glasses are called as they were drawn."""
    accuracy, alike, counts = [], [], np.zeros((len(REGION_NAMES),) * 2, np.int64)
    for face, truth in members:
        accuracy.append(float((face.regions == truth).mean()))
        counts += confusion(face.regions, truth)
        said = face.attributes.get("glasses")
        if said is not None:
            alike.append(bool(said.value) == bool((truth == Region.EYE_GLASSES).sum() >= GLASSES_PIXELS))
    every = figures(counts) if members else {}
    shared = [every[f"f1.{name}"] for name in SHARED if f"f1.{name}" in every]
    return {
        "faces": len(members),
        "pixel_accuracy": summarise(accuracy),
        "face_f1": float(np.mean(shared)) if shared else None,
        "glasses": summarise([float(each) for each in alike]),
    }


def measure_painting(log: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """From the prompts and verdicts that ``limner evaluate words`` stored: by the group a prompt asked for, how often
    that wish was granted, and how often the others were (95 % intervals over prompts)."""
    itself: dict[tuple[str, str], list[float]] = defaultdict(list)
    others: dict[tuple[str, str], list[float]] = defaultdict(list)
    for prompt in log:
        for name in ATTRIBUTES:
            if name not in prompt["wishes"]:
                continue
            group = name, prompt["wishes"][name]
            itself[group].append(float(prompt["alignment"][name]))
            rest = [float(ok) for wish, ok in prompt["alignment"].items() if wish not in ATTRIBUTES]
            if rest:
                others[group].append(float(np.mean(rest)))
    if not itself:
        raise InputError("no prompt in this result asks for a group: make it with `limner evaluate words`")
    out: dict[str, Any] = {}
    for (name, value), aligned_attributes in sorted(itself.items()):
        out.setdefault(name, {})[value] = {
            "prompts": len(aligned_attributes), "alignment": summarise(aligned_attributes),
            "other wishes": summarise(others[name, value]),
        }  # fmt: skip
    return out


def tables(found: Mapping[str, Any]) -> str:
    """The figures as two tables in Markdown, groups of fewer than ``FEWEST`` left out."""
    reading, painting = found["reading"], found["painting"]
    lines = [
        f"Reading {reading['photographs']:,} photographs with hand-drawn regions; no face was found in "
        f"{reading['without a face']} of them.",
        "",
        "| perceived as | photographs | pixels labelled alike | F1 of face regions | glasses right |",
        "|---|---|---|---|---|",
        _read_row("all", reading["all"]),
    ]
    for name in ATTRIBUTES:
        lines += [_read_row(f"{_words(name)}: {value}", each) for value, each in _shown(reading.get(name), "faces")]
    lines += [
        "",
        "| requested group | prompts | alignment of the group | alignment of other attributes |",
        "|---|---|---|---|",
    ]
    for name in ATTRIBUTES:
        for value, each in _shown(painting.get(name), "prompts"):
            shares = f"{_share(each['alignment'])} | {_share(each['other wishes'])}"
            lines.append(f"| {_words(name)}: {value} | {each['prompts']} | {shares} |")
    return "\n".join(lines)


def fill(document: str, found: Mapping[str, Any]) -> str:
    """The document with the tables between its two marks. ``InputError`` if they are not there."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"the document has no place for the tables: write {BEGIN} and {END} where they belong")
    return f"{before}{BEGIN}\n{tables(found)}\n{END}{after}"


def _shown(groups: Mapping[str, Any] | None, count: str) -> list[tuple[str, Any]]:
    return [(value, each) for value, each in (groups or {}).items() if each[count] >= FEWEST]


def _read_row(name: str, each: Mapping[str, Any]) -> str:
    f1 = "–" if each["face_f1"] is None else f"{each['face_f1']:.3f}"
    return f"| {name} | {each['faces']} | {_share(each['pixel_accuracy'])} | {f1} | {_share(each['glasses'])} |"


def _share(of: Mapping[str, Any]) -> str:
    if "mean" not in of:
        return "–"
    if of["low"] == of["high"]:  # all alike, of which no resampling can say how sure it is
        return f"{of['mean']:.1%} of {of['judged']}"
    return f"{of['mean']:.1%} ({of['low']:.1%} to {of['high']:.1%})"


def _words(name: str) -> str:
    return name.replace("_", " ")
