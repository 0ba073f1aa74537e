"""What came of a question about a photograph: one answer for every face, named by where the face is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from limner.faces.record import Attribute, attributes_to_dict

from .kv_cache import KVCache


@dataclass(frozen=True)
class FaceAnswer:
    """An answer about one face. position: "" for the only one; box: XYXY in pixels of the photo.

    attributes: of a full description, what was found of every attribute, the unsure ones included.
    """

    position: str
    box: tuple[float, float, float, float]
    text: str
    attributes: Mapping[str, Attribute] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        told = {"position": self.position, "box": [round(v, 1) for v in self.box], "answer": self.text}
        return told | ({} if self.attributes is None else {"attributes": attributes_to_dict(self.attributes)})


@dataclass(frozen=True)
class Answer:
    """Answers about the faces of one photo, from left to right; ``str`` gives the text."""

    question: str
    faces: tuple[FaceAnswer, ...]

    @property
    def text(self) -> str:
        """The answer; with several faces a line for each, its position first."""
        if len(self.faces) == 1:
            return self.faces[0].text
        return "\n".join(f"{face.position}: {face.text}" for face in self.faces)

    def __str__(self) -> str:
        return self.text

    @staticmethod
    def part(text: str, position: str) -> str:
        """What the ``text`` of an answer says of the face at a position; all of it when it names no such face."""
        lines = [line.removeprefix(f"{position}: ") for line in text.splitlines() if line.startswith(f"{position}: ")]
        return lines[0] if lines else text

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"question": self.question, "faces": [face.to_dict() for face in self.faces]}


@dataclass(frozen=True)
class EncodedPhoto:
    """A photo that was read once and can be asked any number of times: where its faces are, and what the model read."""

    positions: tuple[str, ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    cache: KVCache

    @property
    def count(self) -> int:
        """Faces."""
        return len(self.boxes)

    def split(self) -> list[EncodedPhoto]:
        """Every face on its own, under the name it has here."""
        return [
            EncodedPhoto((self.positions[k],), (self.boxes[k],), self.cache.rows(torch.tensor([k])))
            for k in range(self.count)
        ]


def name_positions(count: int) -> tuple[str, ...]:
    """Names of faces from left to right as one sees the picture; the only face needs none."""
    names = {0: (), 1: ("",), 2: ("left face", "right face"), 3: ("left face", "middle face", "right face")}
    return names.get(count) or tuple(f"face {k} of {count} from the left" for k in range(1, count + 1))


def left_to_right(boxes: np.ndarray) -> np.ndarray:
    """Order of boxes (F, 4) XYXY by their middles."""
    return np.argsort(boxes[:, 0] + boxes[:, 2], kind="stable")
