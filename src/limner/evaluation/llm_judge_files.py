"""What a suite of UniF²ace said and painted, written for `limner evaluate judge`: desc, conv, vlm, vqascore, clip."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limner.faces.picture import save_png
from limner.files import write_bytes_atomic

FILES = {"captions": "captions.jsonl", "answers": "answers.jsonl", "painting": "paintings.jsonl"}
"""Suite → its file in the folder. The judge `desc` reads captions, `conv` answers; `vlm`, `vqascore` and `clip`
paintings, whose pictures lie in a folder beside the file."""


def write_texts(folder: Path, suite: str, log: Sequence[Mapping[str, Any]]) -> Path:
    """Captions or answers, each with its reference: the set's own first caption, or its answer to the question."""
    if suite == "captions":
        lines = [{"id": each["id"], "answer": each["caption"], "reference": each["own"]} for each in log]
    else:
        lines = [
            {"id": f"{each['id']} {k}", "question": each["question"], "answer": each["said"],
             "reference": each["answer"]}
            for k, each in enumerate(log)
        ]  # fmt: skip
    return _write(folder / FILES[suite], lines)


class PromptGallery:
    """Paintings as they are made, and at last the file that names them with their words.

    They are those of the prompts with known wishes (our choice: because then a judge's verdict stands beside what the
    analysers found in the same pictures).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lines: list[dict[str, Any]] = []

    def add(self, text: str, painted: np.ndarray) -> None:
        """A prompt and its painting, uint8 (H, W, 3)."""
        name = f"paintings/{len(self._lines):04d}.png"
        save_png(self.folder / name, painted)
        self._lines.append({"id": Path(name).stem, "image": name, "text": text})

    def write(self) -> Path:
        """The file of pairs, when all pictures are there."""
        return _write(self.folder / FILES["painting"], self._lines)


def _write(file: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    write_bytes_atomic(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
    return file
