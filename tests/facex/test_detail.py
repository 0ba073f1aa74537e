"""What a codec loses of a draft comes back where the draft was kept, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from limner.faces.batches import to_model, to_pictures
from limner.faces.geometry import resize
from limner.faces.record import Face
from limner.models.facex.begun import Begun
from limner.models.facex.detail import Detail
from limner.models.facex.engine import FaceX
from limner.models.facex.loading import Strength
from limner.models.facex.plan import EditPlan


def fine_and_coarse() -> tuple[np.ndarray, np.ndarray]:
    """A picture with a fine pattern (64, 64, 3), and without it."""
    coarse = resize(np.random.default_rng(0).integers(60, 190, (4, 4, 3)).astype(np.uint8), (64, 64))
    pattern = (np.indices((64, 64)).sum(0) % 2 * 40 - 20)[..., None]
    return (coarse + pattern).astype(np.uint8), coarse


NO_SEAMS = np.zeros((64, 64), bool)


def test_a_draft_that_was_kept_comes_back_whole() -> None:
    draft, decoded = fine_and_coarse()
    back = Detail(draft, decoded, NO_SEAMS).given_back(decoded, 1.0)
    assert np.abs(back.astype(int) - draft).max() <= 1
    half = Detail(draft, decoded, NO_SEAMS).given_back(decoded, 0.5)
    assert np.allclose(half.astype(int) - decoded, (draft.astype(int) - decoded) / 2, atol=1)
    assert np.array_equal(Detail(draft, decoded, NO_SEAMS).given_back(decoded, 0.0), decoded)


def test_what_was_painted_anew_stays_as_it_was_painted() -> None:
    draft, decoded = fine_and_coarse()
    painted = decoded.copy()
    painted[:, :28] = 255 - painted[:, :28] // 4
    back = Detail(draft, decoded, NO_SEAMS).given_back(painted, 1.0)
    assert np.abs(back[:, :20].astype(int) - painted[:, :20]).max() <= 2
    assert np.abs(back[:, 40:].astype(int) - draft[:, 40:]).max() <= 2


def test_edges_of_pasting_are_not_given_back() -> None:
    draft, decoded = fine_and_coarse()
    seams = NO_SEAMS.copy()
    seams[:, 30:36] = True
    back = Detail(draft, decoded, seams).given_back(decoded, 1.0)
    assert np.array_equal(back[:, 32:34], decoded[:, 32:34])
    assert np.abs(back[:, :26].astype(int) - draft[:, :26]).max() <= 1


def test_an_edit_gets_its_detail_by_as_much_as_it_keeps_of_its_draft(
    editor: FaceX, photo: np.ndarray, face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = editor.taken_apart(photo, face, "photo")
    prepared = editor.prepare(EditPlan(sliders={"gaze_x": 10.0}, repaint=("person",)), {"photo": subject})
    codec, drawn = editor.parts.base.codec, prepared.draft
    assert drawn is not None
    (detail,) = Begun.of([prepared], 1.0, codec).details
    assert detail is not None and np.array_equal(detail.draft, drawn.picture)
    assert np.array_equal(detail.decoded, to_pictures(codec.decode(codec.encode(to_model(drawn.picture[None]))))[0])
    for kept in (1.0, 0.5):
        strength = Strength(guidance=1.0, likeness=0.0, draft=kept)
        with_it = editor.paint([prepared], 2, strength, "euler")[0]
        with monkeypatch.context() as patch:
            patch.setattr(Detail, "given_back", lambda self, painted, share: painted)
            without = editor.paint([prepared], 2, strength, "euler")[0]
        assert np.array_equal(with_it, detail.given_back(without, kept)) and not np.array_equal(with_it, without)
    assert editor.prepare(EditPlan.animate(), {"photo": subject}).draft is None


def test_a_draft_of_which_nothing_is_kept_is_not_encoded(
    editor: FaceX, photo: np.ndarray, face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = editor.taken_apart(photo, face, "photo")
    plan, codec = EditPlan(sliders={"gaze_x": 10.0}, repaint=("person",)), editor.parts.base.codec
    encoded: list[int] = []
    encode = codec.encode
    monkeypatch.setattr(codec, "encode", lambda pictures: encoded.append(len(pictures)) or encode(pictures))
    prepared = editor.prepare(plan, {"photo": subject})
    before = len(encoded)
    editor.paint([prepared], 2, Strength(guidance=1.0, likeness=0.0, draft=0.0), "euler")
    assert len(encoded) == before and Begun.of([prepared], 0.0, codec).drafts is None
    editor.paint([prepared], 2, Strength(guidance=1.0, likeness=0.0, draft=1.0), "euler")
    assert len(encoded) == before + 1
