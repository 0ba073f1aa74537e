"""Plans: validated, combined, said in a sentence, and the same after JSON. Sliders in the space of what is measured."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from limner.faces import geometry
from limner.faces.expression import EXPRESSION_NAMES, expression_of
from limner.faces.motion import head_pose
from limner.faces.reader import FaceReader
from limner.faces.record import Face
from limner.faces.regions import Region
from limner.models.facex.consent import needs_consent
from limner.models.facex.masks import GROUPS, PARTS, dilate, pack_mask, part_mask, unpack_mask
from limner.models.facex.motion import Motion, motion_of
from limner.models.facex.plan import ABSENT, FACTORS, EditPlan
from limner.models.facex.sliders import EXPRESSIONS, SLIDERS, move


def test_twelve_groups_hold_every_region_once() -> None:
    assert sorted(region for members in GROUPS.values() for region in members) == list(Region)
    assert len(GROUPS) == 12 and len(FACTORS) == 17


def test_who_is_shown_has_to_agree() -> None:
    """Faces, their parts and their motion; not things, nor what a photo gives to itself."""
    moved, erased = EditPlan.motion(yaw=10), EditPlan.erase(["lips", "glasses"])
    theirs = [
        EditPlan.swap("her"),
        EditPlan.reenact("him"),
        EditPlan(structure="her"),
        EditPlan.regions("her", ["lips"]),
    ]
    assert all(needs_consent(plan) and needs_consent(moved + plan) for plan in theirs)
    things = EditPlan.regions("him", ["glasses", "hat", "jewellery", "cloth"])
    own = [moved, erased, things, EditPlan.animate(), EditPlan(structure="photo"), EditPlan.regions("photo", ["lips"])]
    assert not any(needs_consent(plan) for plan in own)


def test_a_chain_is_one_plan_and_the_later_edit_decides() -> None:
    plan = EditPlan.chain(
        [EditPlan.swap("her"), EditPlan.motion(yaw=10, smile=0.5), EditPlan.regions("him", ["lips", "glasses"])]
    )
    assert plan.factors["identity"] == "her" and plan.factors["lips"] == "him" and plan.factors["worn"] == "him"
    assert plan.sliders == {"yaw": 10, "smile": 0.5}
    assert set(plan.repaint) == {"face", "person", "lips", "glasses"}
    assert plan.photos == ("photo", "her", "him")
    assert (EditPlan.motion(smile=0.8) + EditPlan.motion(smile=0.8)).sliders == {"smile": 1.0}


def test_a_foil_is_the_same_motion_on_the_photo_s_own_face() -> None:
    moved = EditPlan.swap("her", head=True) + EditPlan.reenact("him") + EditPlan.motion(yaw=10)
    assert moved.negative().factors == EditPlan.reenact("him").factors and moved.negative().sliders == {"yaw": 10}
    assert moved.negative().repaint == moved.repaint and EditPlan.erase(["glasses"]).negative().factors == {}
    for own in (
        EditPlan.motion(yaw=10),
        EditPlan.animate(),
        EditPlan.reenact("him"),
        EditPlan(factors={"light": "her"}),
    ):
        assert own.negative() == own


def test_drafts_show_what_each_part_is_made_from() -> None:
    face, person = ("face", "her", True), ("person", "photo", False)
    assert EditPlan.swap("her").hole_fill() == (face,)
    head = ("head", "her", True)
    assert EditPlan.swap("her", head=True).hole_fill() == (head,)
    assert (EditPlan.swap("her", head=True) + EditPlan.motion(yaw=5)).hole_fill() == (head,)  # which covers the person
    assert EditPlan(structure="her", repaint=("lips",)).hole_fill() == (head,)
    assert EditPlan.motion(yaw=5).hole_fill() == EditPlan.reenact("him").hole_fill() == (person,)
    assert EditPlan.regions("him", ["lips", "hair"]).hole_fill() == (("lips", "him", False), ("hair", "him", False))
    for nothing in (EditPlan.erase(["hair"]), EditPlan.animate(), EditPlan.inpaint(np.ones((4, 4), bool))):
        assert nothing.hole_fill() == ()
    chain = EditPlan.regions("him", ["lips"]) + EditPlan.swap("her") + EditPlan.motion(yaw=5)
    assert chain.hole_fill() == (person, face)  # the lips are hers now, and lie in her face
    assert (chain + EditPlan.regions("him", ["lips"])).hole_fill() == (person, face, ("lips", "him", False))


def test_a_plan_survives_json_and_speaks() -> None:
    plan = EditPlan.swap("her.jpg", head=True) + EditPlan.motion(yaw=-15) + EditPlan.erase(["hat"])
    assert EditPlan.model_validate_json(plan.model_dump_json()) == plan
    assert str(plan) == (
        "identity, brows, eyes, nose, lips, skin, hair and ears from her.jpg; no worn; yaw -15; the shape of the head "
        "in her.jpg; the rest from the photo; the hat, the head and the person painted anew"
    )
    assert str(EditPlan()) == "the photo stays as it is" and EditPlan().empty
    assert plan.factors["worn"] == ABSENT and "none" not in plan.photos


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: EditPlan(factors={"lip": "a"}), "did you mean lips"),
        (lambda: EditPlan(sliders={"yaw": 90.0}), "from -45 to 45"),
        (lambda: EditPlan(sliders={"yaw": float("nan")}), "from -45 to 45"),
        (lambda: EditPlan(repaint=("heads",)), "did you mean head"),
        (lambda: EditPlan.regions("a", ["face"]), "no region 'face'"),
        (lambda: EditPlan.motion("hapy"), "did you mean happy"),
        (lambda: EditPlan(colour="red"), "Extra inputs"),  # type: ignore[call-arg]
    ],
)
def test_what_there_is_not_is_refused(make, words: str) -> None:
    with pytest.raises((ValidationError, ValueError), match=words):
        make()


def test_masks_pack_unite_and_grow() -> None:
    one, two = np.zeros((40, 50), bool), np.zeros((40, 50), bool)
    one[5:10, 5:10], two[30, 40] = True, True
    united = EditPlan.inpaint(one) + EditPlan.inpaint(two)
    assert united.hole is not None and np.array_equal(unpack_mask(united.hole), one | two)
    with pytest.raises(ValueError, match="different sizes"):
        _ = EditPlan.inpaint(one) + EditPlan.inpaint(two[:, :-1])
    grown = dilate(two, 3)
    assert grown.sum() == 49 and grown[27, 37] and not grown[26, 40]
    assert np.array_equal(unpack_mask(pack_mask(one)), one)


def test_a_beard_lies_below_the_nose() -> None:
    regions = np.full((20, 20), Region.SKIN, np.uint8)
    regions[8:12, 8:12] = Region.NOSE
    assert part_mask(regions, "beard")[12:].all() and not part_mask(regions, "beard")[:12].any()
    assert set(PARTS) >= {"face", "head", "person", "beard"}


def test_sliders_move_what_they_name_and_nothing_at_zero(face: Face, reader: FaceReader) -> None:
    mesh = geometry.transform_points(face.landmarks, face.crop)
    motion = motion_of(mesh, face.expression, face.gaze, reader.topology)
    same = move(motion, dict.fromkeys(("yaw", "pitch", "smile", "mouth", "brows", "eyes"), 0.0))
    for name in ("expression", "pose", "gaze"):
        assert np.allclose(getattr(same, name), getattr(motion, name), atol=1e-6)
    turned = move(motion, {"yaw": 12.0, "mouth": 0.5})
    assert turned.pose[0] == pytest.approx(motion.pose[0] + 12) and turned.gaze[0] == pytest.approx(motion.gaze[0] + 12)
    opened = EXPRESSION_NAMES.index("jaw_open")
    assert turned.expression[opened] == pytest.approx(min(motion.expression[opened] + 0.4, 1))
    assert np.allclose(turned.normalised()[1] - motion.normalised()[1], [12 / 20, 0, 0, 0, 0, 0], atol=1e-6)


def test_moved_eyes_are_measured_as_the_reader_measures_them(face: Face, reader: FaceReader) -> None:
    mesh = geometry.transform_points(face.landmarks, face.crop)
    pose = head_pose(mesh, reader.topology)
    motion = motion_of(mesh, face.expression, face.gaze, reader.topology)
    moved = move(motion, {"gaze_x": 14.0, "gaze_y": -6.0})
    expected = expression_of(mesh, pose, face.gaze + np.array([14.0, -6.0]), reader.topology)
    looks = [k for k, name in enumerate(EXPRESSION_NAMES) if name.startswith("eye_look")]
    assert np.allclose(moved.expression[looks], expected[looks], atol=1e-5)


def test_every_named_measure_exists() -> None:
    stems = {name.removesuffix("_left").removesuffix("_right") for name in EXPRESSION_NAMES}
    assert {measure for slider in SLIDERS.values() for measure in slider.moves} <= stems
    assert {name for bundle in EXPRESSIONS.values() for name in bundle} <= set(SLIDERS)
    still = Motion(np.full(len(EXPRESSION_NAMES), 0.5, np.float32), np.zeros(6, np.float32), np.zeros(2, np.float32))
    for bundle in EXPRESSIONS.values():
        assert not np.allclose(move(still, bundle).expression, still.expression)
