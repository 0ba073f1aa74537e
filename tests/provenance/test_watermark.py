"""The watermark: not seen, found after what happens to pictures, and not found where it is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from limner.evaluation.image_similarity import psnr
from limner.evaluation.watermark import ATTACKS, edited
from limner.provenance.detect import CHANCE, EVEN, SHIFTS, UNEVEN, detect
from limner.provenance.pattern import BITS, HIGHEST, column_waves, local_mean, pattern, row_waves
from limner.provenance.watermark import _wave_sum, embed
from provenance.faces import photo, photographs


@pytest.fixture(scope="module")
def marked() -> np.ndarray:
    return embed(photo(), 0xA5C3)


@pytest.mark.parametrize("name", ATTACKS)
def test_found_with_its_message_after(name: str, marked: np.ndarray) -> None:
    result = detect(ATTACKS[name](marked, np.random.default_rng(5)))
    assert result.found and result.message == 0xA5C3
    assert result.mirrored == (name == "mirrored")


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_an_edit_is_marked_where_it_was_made_and_nowhere_else(share: float) -> None:
    original = photo()
    after = edited(original, share)
    marked, same = embed(after, 0x2B17, original), (after == original).all(2)
    assert np.array_equal(marked[same], original[same]) and (marked != after)[~same].any()
    assert psnr(marked, after) > 41.8
    assert (
        detect(marked).says(0x2B17, BITS)
        and not detect(marked).says(0x2B16, BITS)
        and detect(ATTACKS["JPEG 75"](marked, np.random.default_rng(5))).found
    )


def test_what_an_edit_left_alone_is_not_marked() -> None:
    assert np.array_equal(embed(photo(), 7, photo()), photo())
    with pytest.raises(ValueError, match="no edit of"):
        embed(photo(), 7, photo()[:-1])


@pytest.mark.parametrize("message", [0, 1, 2**BITS - 1])
def test_every_bit_is_read(message: int) -> None:
    assert detect(embed(photo(), message)).message == message


@pytest.mark.parametrize("size", [(200, 300), (512, 512), (700, 400)])
def test_found_at_other_sizes_and_shapes(size: tuple[int, int]) -> None:
    from limner.faces.geometry import resize

    big = resize(photo(), size)
    assert detect(embed(big, 77)).message == 77


def test_found_in_one_picture_cut_out_of_a_sheet_of_four() -> None:
    sheet = np.vstack([np.hstack(photographs()[:1] * 2)] * 2)
    assert detect(embed(sheet, 9)[256:, :256].copy()).message == 9


def test_not_found_in_unmarked_pictures() -> None:
    for picture in photographs():
        assert not detect(picture).found


@pytest.mark.parametrize("picture", [np.full((256, 256, 3), 128, np.uint8), np.zeros((64, 64, 3), np.uint8)])
def test_nothing_is_read_into_what_has_no_content(picture: np.ndarray) -> None:
    result = detect(picture)
    assert (result.found, result.message) == (False, None)


def test_the_score_of_any_unmarked_picture_is_as_rare_as_stated() -> None:
    """Whatever a picture shows: here the hardest kind, stripes of the pattern's own frequencies and a sharp grid."""
    y, x = np.mgrid[:256, :256]
    for period in (4, 8, 16, 64 / 9):
        stripes = (128 + 60 * np.sign(np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / period))).astype(np.uint8)
        assert detect(np.repeat(stripes[..., None], 3, 2)).chance > 1e-3


def test_chance_is_the_union_bound_of_a_normal_score() -> None:
    result = detect(embed(photo()))
    tries = (2 * len(EVEN) + len(UNEVEN)) * SHIFTS**2
    assert result.chance == pytest.approx(tries * math.erfc(result.score / math.sqrt(2)) / 2, rel=1e-6, abs=0)
    assert CHANCE < 1e-3


def test_not_seen(marked: np.ndarray) -> None:
    for picture in photographs():
        error = np.mean((embed(picture) - picture.astype(float)) ** 2)
        assert 10 * np.log10(255**2 / error) > 41.5
    change = marked.astype(int) - photo()
    assert (change[..., 0] == change[..., 1]).mean() > 0.97  # grey, but where a channel is at its end


def test_smooth_places_are_changed_less_than_busy_ones() -> None:
    picture = np.full((256, 256, 3), 128, np.uint8)
    picture[:, 128:] += np.random.default_rng(0).integers(0, 80, (256, 128, 1), np.uint8)
    change = np.abs(embed(picture).astype(int) - picture)
    assert change[:, 16:112].mean() < 0.5 * change[:, 144:240].mean()


def test_the_same_picture_gives_the_same_pixels_and_is_left_alone() -> None:
    picture = photo()
    before = picture.copy()
    assert np.array_equal(embed(picture, 5), embed(picture, 5))
    assert np.array_equal(picture, before)
    assert not np.array_equal(embed(picture, 5), embed(picture, 6))


def test_wave_sum_is_the_formula_of_the_docstring() -> None:
    waves, tile = pattern(), 64.0
    row, column = 37, 101
    y, x = (row + 0.5) / tile, (column + 0.5) / tile
    terms = np.cos(2 * np.pi * (waves.waves @ [y, x]) + waves.phases)
    expected = terms.sum() / np.sqrt(len(terms) / 2)
    assert _wave_sum(waves, 0, 256, 256)[row, column] == pytest.approx(expected)
    assert np.mean(_wave_sum(waves, 0, 256, 256) ** 2) == pytest.approx(1)


def test_the_pattern_is_resized_by_resizing_the_picture() -> None:
    waves = pattern()
    small, big = _wave_sum(waves, 3, 256, 256), _wave_sum(waves, 3, 768, 768)
    assert np.allclose(big[1::3, 1::3], small)  # the middles of 3 x 3 pixels are those of the small ones


def test_waves_are_one_of_each_pair() -> None:
    waves = pattern().waves
    both = {tuple(wave) for wave in waves} | {tuple(-wave) for wave in waves}
    assert len(both) == 2 * len(waves)
    assert np.hypot(*waves.T).max() <= HIGHEST


def test_waves_are_plane_waves() -> None:
    assert row_waves(8, 4.0)[3, HIGHEST + 2] == pytest.approx(np.exp(2j * np.pi * 2 * 3.5 / 4))
    assert column_waves(8, 4.0)[3, 2] == pytest.approx(np.exp(2j * np.pi * 2 * 3.5 / 4))


def test_local_mean_is_the_mean_of_the_square() -> None:
    values = np.random.default_rng(0).normal(size=(30, 40))
    assert local_mean(values, 3)[10, 20] == pytest.approx(values[7:14, 17:24].mean())
    assert local_mean(values, 3).shape == values.shape
    assert np.allclose(local_mean(np.full((9, 12), 4.0), 2), 4)


def test_what_cannot_be_marked_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        embed(photo()[..., 0])
    with pytest.raises(ValueError, match="16 bits"):
        embed(photo(), 2**BITS)
