from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from limner.errors import InputError
from limner.faces import regions as R


def every_region(rng: np.random.Generator, height: int = 40, width: int = 57) -> np.ndarray:
    """A map with every region in it and more skin than anything else, as faces have."""
    ids = rng.integers(0, 19, (height, width)).astype(np.uint8)
    ids[rng.random(ids.shape) < 0.4] = R.Region.SKIN
    return ids


@pytest.fixture
def ids() -> np.ndarray:
    return every_region(np.random.default_rng(0))


def test_names_are_the_published_order():
    names = "background skin nose eye_glasses left_eye right_eye left_brow right_brow left_ear right_ear "
    names += "mouth upper_lip lower_lip hair hat ear_ring necklace neck cloth"
    assert list(R.REGION_NAMES) == names.split()


def test_flip_is_its_own_inverse_and_swaps_sides(ids):
    assert (R.flip(R.flip(ids)) == ids).all()
    flipped = R.flip(ids)
    assert (np.argwhere(flipped[:, ::-1] == R.Region.LEFT_EYE) == np.argwhere(ids == R.Region.RIGHT_EYE)).all()
    assert (flipped[:, ::-1] == R.Region.NOSE).sum() == (ids == R.Region.NOSE).sum()


@pytest.mark.parametrize("order", R.ORDERS)
def test_orders_round_trip(ids, order):
    assert sorted(R.ORDERS[order]) == list(R.Region)
    assert (R.from_order(R.to_order(ids, order), order) == ids).all()


def test_bisenet_order_known_places():
    theirs = np.arange(19)
    ours = R.from_order(theirs, "bisenet")
    assert [R.Region(k).name for k in ours[[2, 6, 9, 10, 17, 18]]] == [
        "LEFT_BROW",
        "EYE_GLASSES",
        "EAR_RING",
        "NOSE",
        "HAIR",
        "HAT",
    ]


@pytest.mark.parametrize("palette", R.PALETTES)
@pytest.mark.parametrize("ground", [None, (0, 0, 0), (255, 255, 255)])
def test_palettes_round_trip_on_any_ground(ids, palette, ground):
    table = R.PALETTES[palette].copy()
    if ground is not None:
        table[0] = ground
    assert (R.from_palette(R.colourise(ids, table)) == ids).all()


def test_few_colours_still_know_their_palette():
    """Skin, hair and neck only: colours that read backwards are other colours of the BiSeNet palette."""
    ids = np.zeros((64, 64), np.uint8)
    ids[16:60, 16:48] = R.Region.SKIN
    ids[4:16, 10:54] = R.Region.HAIR
    ids[56:, 24:40] = R.Region.NECK
    ids[30:40, 30:34] = R.Region.NOSE
    ids[44:46, 26:38] = R.Region.LOWER_LIP
    for palette in R.PALETTES.values():
        assert (R.from_palette(R.colourise(ids, palette)) == ids).all()


def test_numbers_as_grey_and_noise_in_colours(ids):
    assert (R.from_palette(ids) == ids).all()
    assert (R.from_palette(ids[..., None]) == ids).all()
    assert (R.from_palette(np.repeat(ids[..., None], 3, 2)) == ids).all()
    noisy = R.colourise(ids).astype(int) + np.random.default_rng(1).integers(-12, 13, (*ids.shape, 3))
    assert (R.from_palette(noisy.clip(0, 255).astype(np.uint8)) == ids).all()


def test_smoothed_edges_bring_no_new_region():
    ids = np.zeros((128, 128), np.uint8)
    ids[:, 64:] = R.Region.SKIN
    picture = R.colourise(ids).astype(float)
    picture[:, 64] = picture[:, 63:66].mean(1)
    read = R.from_palette(picture.astype(np.uint8))
    assert set(np.unique(read)) == {0, 1} and (read != ids).mean() < 0.01


@pytest.mark.parametrize(
    "picture",
    [
        np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8),
        np.full((8, 8), 19, np.uint8),
        np.full((8, 8), -1),
        np.zeros((8, 8), np.float32),
        np.zeros((8, 8, 4), np.uint8),
        np.full((8, 8, 3), 128, np.uint8),
    ],
)
def test_other_pictures_are_refused_in_one_line(picture):
    with pytest.raises(InputError) as caught:
        R.from_palette(picture)
    assert "\n" not in str(caught.value)


def test_unknown_order_is_refused():
    with pytest.raises(InputError, match="celebamask, bisenet"):
        R.from_order(np.zeros((2, 2), np.uint8), "lapa")


def test_palettes_have_no_colour_twice():
    for palette in R.PALETTES.values():
        assert len(np.unique(palette, axis=0)) == 19


def test_a_photograph_given_as_a_map_costs_little_memory():
    """Half a million colours, each held against the palettes, a block at a time."""
    picture = np.random.default_rng(0).integers(0, 256, (800, 800, 3)).astype(np.uint8)
    tracemalloc.start()
    with pytest.raises(InputError):
        R.from_palette(picture)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6
