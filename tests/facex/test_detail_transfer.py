"""What a codec loses of a draft comes back where the draft was kept, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from limner.faces.geometry import resize
from limner.faces.image_tensors import to_model, to_pictures
from limner.faces.record import Face
from limner.models.facex.detail_transfer import Detail
from limner.models.facex.edit_inputs import BatchInit
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
    warped, decoded = fine_and_coarse()
    back = Detail(warped, decoded, NO_SEAMS).restore(decoded, 1.0)
    assert np.abs(back.astype(int) - warped).max() <= 1
    half = Detail(warped, decoded, NO_SEAMS).restore(decoded, 0.5)
    assert np.allclose(half.astype(int) - decoded, (warped.astype(int) - decoded) / 2, atol=1)
    assert np.array_equal(Detail(warped, decoded, NO_SEAMS).restore(decoded, 0.0), decoded)


def test_what_was_painted_anew_stays_as_it_was_painted() -> None:
    warped, decoded = fine_and_coarse()
    painted = decoded.copy()
    painted[:, :28] = 255 - painted[:, :28] // 4
    back = Detail(warped, decoded, NO_SEAMS).restore(painted, 1.0)
    assert np.abs(back[:, :20].astype(int) - painted[:, :20]).max() <= 2
    assert np.abs(back[:, 40:].astype(int) - warped[:, 40:]).max() <= 2


def test_edges_of_pasting_are_not_given_back() -> None:
    warped, decoded = fine_and_coarse()
    seams = NO_SEAMS.copy()
    seams[:, 30:36] = True
    back = Detail(warped, decoded, seams).restore(decoded, 1.0)
    assert np.array_equal(back[:, 32:34], decoded[:, 32:34])
    assert np.abs(back[:, :26].astype(int) - warped[:, :26]).max() <= 1


def test_an_edit_gets_its_detail_by_as_much_as_it_keeps_of_its_draft(
    editor: FaceX, photo: np.ndarray, face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = editor.taken_apart(photo, face, "photo")
    prepared = editor.prepare(EditPlan(sliders={"gaze_x": 10.0}, repaint=("person",)), {"photo": subject})
    codec, drawn = editor.components.base.codec, prepared.init
    assert drawn is not None
    (detail,) = BatchInit.of([prepared], 1.0, codec).details
    assert detail is not None and np.array_equal(detail.warped, drawn.picture)
    assert np.array_equal(detail.decoded, to_pictures(codec.decode(codec.encode(to_model(drawn.picture[None]))))[0])
    for kept in (1.0, 0.5):
        strength = Strength(guidance=1.0, identity_guidance=0.0, warp_strength=kept)
        with_it = editor.paint([prepared], 2, strength, "euler")[0]
        with monkeypatch.context() as patch:
            patch.setattr(Detail, "restore", lambda self, painted, share: painted)
            without = editor.paint([prepared], 2, strength, "euler")[0]
        assert np.array_equal(with_it, detail.restore(without, kept)) and not np.array_equal(with_it, without)
    assert editor.prepare(EditPlan.animate(), {"photo": subject}).init is None


def test_a_draft_of_which_nothing_is_kept_is_not_encoded(
    editor: FaceX, photo: np.ndarray, face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = editor.taken_apart(photo, face, "photo")
    plan, codec = EditPlan(sliders={"gaze_x": 10.0}, repaint=("person",)), editor.components.base.codec
    encoded: list[int] = []
    encode = codec.encode
    monkeypatch.setattr(codec, "encode", lambda pictures: encoded.append(len(pictures)) or encode(pictures))
    prepared = editor.prepare(plan, {"photo": subject})
    before = len(encoded)
    editor.paint([prepared], 2, Strength(guidance=1.0, identity_guidance=0.0, warp_strength=0.0), "euler")
    assert len(encoded) == before and BatchInit.of([prepared], 0.0, codec).init is None
    editor.paint([prepared], 2, Strength(guidance=1.0, identity_guidance=0.0, warp_strength=1.0), "euler")
    assert len(encoded) == before + 1
