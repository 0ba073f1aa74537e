"""From wishes for measures back to shapes: what is asked for is measured afterwards, by the likeliest way there."""

from __future__ import annotations

import numpy as np
import pytest

from limner.faces.expression import EXPRESSION_NAMES, unbounded_expression
from limner.faces.expression_solver import FOLD, FRONT, LOWER, UPPER, lids_along, likeliest
from limner.faces.landmarks import EYE_FOLDS, EYE_OPENINGS, LIDS
from limner.faces.shape import ShapeModel

NOBODY = np.zeros(64)


@pytest.fixture(scope="module")
def shapes() -> ShapeModel:
    return ShapeModel.load()


def wish(**measures: float) -> np.ndarray:
    """A change of the measures with these names, on both sides of those that have two."""
    change = np.zeros(len(EXPRESSION_NAMES))
    for name, value in measures.items():
        for side in ("", "_left", "_right"):
            if name + side in EXPRESSION_NAMES:
                change[EXPRESSION_NAMES.index(name + side)] = value
    return change


def measured(shapes: ShapeModel, expression: np.ndarray, name: str) -> float:
    """A measure of the average face with an expression, on the left where it has sides; not kept in 0..1."""
    found = unbounded_expression(shapes.shape_of(NOBODY, expression), FRONT, np.zeros(2), shapes.topology)
    return float(found[EXPRESSION_NAMES.index(name if name in EXPRESSION_NAMES else f"{name}_left")])


@pytest.mark.parametrize("name", ["mouth_smile", "jaw_open", "brow_outer_up", "mouth_pucker", "eye_wide"])
def test_what_is_wished_is_measured(shapes: ShapeModel, name: str) -> None:
    for value in (0.3, 0.7):
        step = likeliest(shapes, shapes.shape_of(NOBODY, NOBODY), wish(**{name: value}))
        wanted = max(measured(shapes, NOBODY, name), 0) + value
        assert abs(measured(shapes, step, name) - wanted) < 0.15, "at most a fifth of its spread is given up"


def test_it_is_the_likeliest_way_there(shapes: ShapeModel) -> None:
    """Any other movement that shows as much is longer, in standard deviations."""
    step = likeliest(shapes, shapes.shape_of(NOBODY, NOBODY), wish(jaw_open=0.5))
    gain = measured(shapes, step, "jaw_open") - measured(shapes, NOBODY, "jaw_open")
    random = np.random.default_rng(0)
    for _ in range(20):
        other = step + 0.3 * random.standard_normal(64)
        other *= gain / (measured(shapes, other, "jaw_open") - measured(shapes, NOBODY, "jaw_open"))
        assert np.linalg.norm(other) > np.linalg.norm(step)
    assert 0.5 < np.linalg.norm(step) < 6, "nobody has never seen a mouth open like that"


def test_a_measure_beyond_its_range_goes_the_whole_way(shapes: ShapeModel) -> None:
    """A wide smile's corners are far from a frown; one wished for has to undo the smile."""
    smiling = likeliest(shapes, shapes.shape_of(NOBODY, NOBODY), wish(mouth_smile=0.6))
    before = measured(shapes, smiling, "mouth_frown")
    assert before < -1
    frown = likeliest(shapes, shapes.shape_of(NOBODY, smiling), wish(mouth_frown=0.5))
    assert abs(measured(shapes, smiling + frown, "mouth_frown") - 0.5) < 0.35


@pytest.mark.parametrize("name", ["mouth_smile", "mouth_frown", "mouth_pucker", "jaw_open"])
def test_a_small_wish_is_a_small_movement(shapes: ShapeModel, name: str) -> None:
    """Wherever a measure lies: the further the wish, the further the way, from nothing on."""
    smiling = shapes.shape_of(NOBODY, likeliest(shapes, shapes.shape_of(NOBODY, NOBODY), wish(mouth_smile=0.6)))
    for sign in (1, -1):
        ways = [np.linalg.norm(likeliest(shapes, smiling, wish(**{name: sign * by}))) for by in (0.02, 0.1, 0.3, 0.6)]
        assert ways[0] < 0.5 and ways == sorted(ways), (name, sign, ways)


def test_no_face_goes_further_than_faces_do(shapes: ShapeModel) -> None:
    smiling = likeliest(shapes, shapes.shape_of(NOBODY, NOBODY), wish(mouth_smile=1.0, mouth_stretch=1.0))
    pucker = likeliest(shapes, shapes.shape_of(NOBODY, smiling), wish(mouth_pucker=1.0))
    assert np.linalg.norm(pucker) == pytest.approx(5.0)
    assert measured(shapes, smiling + pucker, "mouth_pucker") > measured(shapes, smiling, "mouth_pucker")


def test_where_nothing_is_wished_nothing_moves(shapes: ShapeModel) -> None:
    shape = shapes.shape_of(NOBODY, NOBODY)
    assert not likeliest(shapes, shape, wish()).any()
    assert not likeliest(shapes, shape, wish(eye_look_up=0.5)).any(), "a mesh does not show where eyes look"


def test_lids_go_along_with_their_irises(shapes: ShapeModel) -> None:
    mesh = shapes.topology.canonical
    way = lids_along(mesh, np.array([[0.1, -0.2], [0.0, 0.2]])) - mesh
    for eye, gone in enumerate((-0.2, 0.2)):
        upper, lower = LIDS[eye]
        assert way[upper, 1] == pytest.approx(UPPER * gone) and way[lower, 1] == pytest.approx(LOWER * gone)
        for share, fold in zip((UPPER, LOWER), EYE_FOLDS[eye], strict=True):
            assert way[fold[3], 1] == pytest.approx(FOLD * share * gone)
            assert abs(way[fold[0], 1]) < abs(way[fold[3], 1]), "less towards the corners"
    moved = np.flatnonzero(way.any(1))
    lids = [point for opening in EYE_OPENINGS for point in (*opening[1:8], *opening[9:])]
    assert set(moved) == {*lids, *np.ravel(EYE_FOLDS)} and not way[:, [0, 2]].any(), "corners stay, and everything else"


@pytest.mark.parametrize("down", [-3.0, -0.6, 0.6, 3.0])
@pytest.mark.parametrize("narrowed", [1.0, 0.4, 0.0])
def test_lids_never_meet_nor_pass_their_folds(shapes: ShapeModel, down: float, narrowed: float) -> None:
    mesh = shapes.topology.canonical.copy()
    for opening in EYE_OPENINGS:  # a squint, or closed eyes
        for upper, lower in zip(opening[1:8], reversed(opening[9:]), strict=True):
            middle = (mesh[upper, 1] + mesh[lower, 1]) / 2
            mesh[[upper, lower], 1] = middle + narrowed * (mesh[[upper, lower], 1] - middle)
    moved = lids_along(mesh, np.array([[0.0, down]] * 2))
    for (upper, lower), folds in zip(LIDS, EYE_FOLDS, strict=True):
        before, after = (each[lower, 1] - each[upper, 1] for each in (mesh, moved))
        assert after >= 0.39 * before and (narrowed > 0 or after == pytest.approx(before, abs=1e-6)), "closed ones stay"
        assert moved[upper, 1] - moved[folds[0][3], 1] > 0.39 * (mesh[upper, 1] - mesh[folds[0][3], 1])


def test_points_of_a_fold_lie_beyond_their_lids(shapes: ShapeModel) -> None:
    mesh = shapes.topology.canonical
    for opening, (upper, lower) in zip(EYE_OPENINGS, EYE_FOLDS, strict=True):
        assert (mesh[list(upper), 1] < mesh[list(opening[1:8]), 1]).all()
        assert (mesh[list(lower), 1] > mesh[list(opening[9:]), 1]).all()
        for fold, lid in ((upper, opening[1:8]), (lower, opening[9:])):
            assert np.abs(mesh[list(fold), 0] - mesh[list(lid), 0]).max() < 0.6, "in the same order, centimetres"
