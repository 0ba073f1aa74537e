"""What a codec loses of a draft comes back where the draft was kept, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from limner.faces.geometry import resize
from limner.faces.record import Face
from limner.models.facex.detail import Detail
from limner.models.facex.engine import FaceX
from limner.models.facex.loading import Strength
from limner.models.facex.plan import EditPlan


def fine_and_coarse() -> tuple[np.ndarray, np.ndarray]:
    """A picture with a fine pattern (64, 64, 3), and without it."""
    coarse = resize(np.random.default_rng(0).integers(60, 190, (4, 4, 3)).astype(np.uint8), (64, 64))
    pattern = (np.indices((64, 64)).sum(0) % 2 * 40 - 20)[..., None]
    return (coarse + pattern).astype(np.uint8), coarse


def test_a_draft_that_was_kept_comes_back_whole() -> None:
    draft, decoded = fine_and_coarse()
    back = Detail(draft, decoded).given_back(decoded, 1.0)
    assert np.abs(back.astype(int) - draft).max() <= 1
    half = Detail(draft, decoded).given_back(decoded, 0.5)
    assert np.allclose(half.astype(int) - decoded, (draft.astype(int) - decoded) / 2, atol=1)
    assert np.array_equal(Detail(draft, decoded).given_back(decoded, 0.0), decoded)


def test_what_was_painted_anew_stays_as_it_was_painted() -> None:
    draft, decoded = fine_and_coarse()
    painted = decoded.copy()
    painted[:, :28] = 255 - painted[:, :28] // 4
    back = Detail(draft, decoded).given_back(painted, 1.0)
    assert np.abs(back[:, :20].astype(int) - painted[:, :20]).max() <= 2
    assert np.abs(back[:, 40:].astype(int) - draft[:, 40:]).max() <= 2


def test_an_edit_gets_its_detail_by_as_much_as_it_keeps_of_its_draft(
    editor: FaceX, photo: np.ndarray, face: Face
) -> None:
    subject = editor.taken_apart(photo, face, "photo")
    prepared = editor.prepare(EditPlan(sliders={"gaze_x": 10.0}, repaint=("person",)), {"photo": subject})
    assert prepared.detail is not None
    coarse = replace(prepared, detail=None)
    for kept in (1.0, 0.0):
        strength = Strength(guidance=1.0, likeness=0.0, draft=kept)
        with_it, without = (editor.paint([each], 2, strength, "euler")[0] for each in (prepared, coarse))
        assert np.array_equal(with_it, prepared.detail.given_back(without, kept))
        assert np.array_equal(with_it, without) == (kept == 0)
    assert editor.prepare(EditPlan.animate(), {"photo": subject}).detail is None
