"""Edits painted in one batch: each picture is the one that its edit gives alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from limner.errors import InputError
from limner.models.facex.engine import FaceX
from limner.models.facex.plan import EditPlan
from limner.provenance.picture import Picture


def difference(a: Picture, b: Picture) -> int:
    return int(np.abs(np.asarray(a.image).astype(int) - np.asarray(b.image)).max())


@pytest.fixture(scope="module")
def edits(photo: np.ndarray) -> list[dict[str, Any]]:
    """Other photos of other sizes, plans, words and seeds; more than one batch of 8."""
    other = np.ascontiguousarray(photo[:, ::-1, ::-1])
    narrow = np.ascontiguousarray(photo[:, 10:-10])
    few: list[dict[str, Any]] = [
        {"photo": photo, "plan": EditPlan.swap("source", head=True), "photos": {"source": other}, "seed": 3},
        {"photo": narrow, "plan": EditPlan.motion(yaw=20), "seed": 11},
        {"photo": other, "plan": EditPlan.reenact("driver"), "photos": {"driver": photo}, "seed": 3},
        {"photo": photo, "plan": EditPlan.erase(["lips"]).model_copy(update={"prompt": "a woman"}), "seed": 4},
    ]
    return few + [{"photo": photo, "plan": EditPlan.motion(smile=0.5), "seed": seed} for seed in range(6)]


def test_an_edit_is_the_same_in_company(editor: FaceX, edits: list[dict[str, Any]]) -> None:
    steps: list[tuple[int, int, int]] = []
    together = editor.finish(
        [editor.begin(**edit) for edit in edits],
        3,
        watch=lambda done, total, look: steps.append((done, total, len(look()))),
    )
    assert steps == [(done, 6, 8 if done < 4 else 2) for done in range(1, 7)]
    for edit, picture in zip(edits, together, strict=True):
        alone = editor.edit(**edit, steps=3)
        assert difference(picture, alone) <= 1
        assert {key: value for key, value in picture.recipe.items() if key != "batched_with"} == alone.recipe
        assert picture.ingredients == alone.ingredients and picture.image.size == alone.image.size
    assert [picture.recipe["batched_with"] for picture in together] == [7] * 8 + [1] * 2
    assert difference(together[4], together[5]) > 1  # the same edit, another seed


def test_the_watcher_sees_every_photo(editor: FaceX, edits: list[dict[str, Any]]) -> None:
    looks: list[Any] = []
    made = editor.finish([editor.begin(**edit) for edit in edits[:2]], 4, watch=lambda *at: looks.append(at[2]()))
    for number, picture in enumerate(made):
        last = np.asarray(picture.image).astype(int)
        apart = [np.abs(look[number].astype(int) - last).mean() for look in looks]
        assert apart[-1] < 0.5 and apart[-1] < apart[0]


def test_one_seed_that_cannot_be_is_named(editor: FaceX, edits: list[dict[str, Any]]) -> None:
    begun = [editor.begin(**edits[1]), editor.begin(**{**edits[1], "seed": -1})]
    with pytest.raises(InputError, match="seed=-1"):
        editor.finish(begun, 2)
