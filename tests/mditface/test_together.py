"""Requests painted in one batch: each picture is the one that its request gives alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from limner.errors import InputError
from limner.models.mditface.engine import MDiTFace
from limner.provenance.picture import Picture
from mditface.parts import write_nano


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> MDiTFace:
    return MDiTFace.load(write_nano(tmp_path_factory.mktemp("painter")), precision="fp32")


def face_map(shift: int) -> np.ndarray:
    regions = np.zeros((64, 64), np.uint8)
    regions[4:40, 8:56], regions[14 + shift : 50, 16:48], regions[50:] = 13, 1, 18
    return regions


def difference(a: Picture, b: Picture) -> int:
    return int(np.abs(np.asarray(a.image).astype(int) - np.asarray(b.image)).max())


@pytest.mark.parametrize("masked", [False, True], ids=["words", "words and masks"])
def test_a_picture_is_the_same_in_company(painter: MDiTFace, masked: bool) -> None:
    """Other words, seeds, masks and numbers beside it; more than one batch of 8."""
    requests: list[dict[str, Any]] = [
        {"text": "a smiling woman", "seed": 3, "steps": 3},
        {"text": "a man with a beard", "seed": 11, "n": 2, "steps": 3},
        {"text": "a smiling woman", "seed": 90, "n": 6, "steps": 3},
    ]
    if masked:
        requests = [{**request, "mask": face_map(k)} for k, request in enumerate(requests)]
    together = painter.paint_batch(requests)
    assert [len(pictures) for pictures in together] == [1, 2, 6]
    for request, pictures in zip(requests, together):
        alone = painter.paint(**request)
        assert all(difference(one, other) <= 1 for one, other in zip(pictures, alone, strict=True))
        assert [p.recipe["picture"] for p in pictures] == list(range(len(pictures)))
        for mine, own in zip(pictures, alone):
            assert {key: value for key, value in mine.recipe.items() if key != "batched_with"} == own.recipe
    assert together[0][0].recipe["batched_with"] == 7 and together[2][5].recipe.get("batched_with") is None
    assert difference(together[0][0], together[2][0]) > 1  # the same words, another seed


def test_one_request_is_exactly_paint(painter: MDiTFace) -> None:
    one = painter.paint_batch([{"text": "a woman", "n": 3, "steps": 2, "seed": 5}])[0]
    own = painter.paint("a woman", n=3, steps=2, seed=5)
    assert all(difference(a, b) == 0 and a.recipe == b.recipe for a, b in zip(one, own, strict=True))


@pytest.mark.parametrize("other", [{"steps": 3}, {"guidance": 1.5}, {"sampler": "heun"}, {"mask": face_map(0)}])
def test_unlike_requests_are_refused(painter: MDiTFace, other: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="painted together"):
        painter.paint_batch([{"text": "a woman", "steps": 2}, {"text": "a woman", "steps": 2, **other}])


def test_the_watcher_sees_the_pictures_come(painter: MDiTFace) -> None:
    seen: list[np.ndarray] = []
    made = painter.paint_batch(
        [{"text": "a man", "steps": 3}, {"text": "a woman", "steps": 3}],
        lambda d, t, look: seen.append(np.asarray(look())),
    )
    assert [look.shape for look in seen] == [(2, 64, 64, 3)] * 3
    last = np.stack([np.asarray(pictures[0].image) for pictures in made])
    assert np.abs(seen[-1].astype(int) - last).max() <= 1  # at t = 0 the estimate is the picture
    assert np.abs(seen[0].astype(int) - last).max() > 1
