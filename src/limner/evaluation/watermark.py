"""Is the watermark found again after what happens to pictures, not seen, and never found where it is not?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from limner.errors import InputError
from limner.evaluation.image_similarity import psnr as psnr_of
from limner.faces.data_folders import picture_files
from limner.faces.geometry import resize
from limner.faces.picture import SUFFIXES, encode_jpeg, read_picture
from limner.progress import ProgressCallback
from limner.provenance.detect import detect
from limner.provenance.pattern import BITS
from limner.provenance.watermark import embed

Attack = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def jpeg(quality: int) -> Attack:
    """Through JPEG at that quality."""
    return lambda picture, random: read_picture(encode_jpeg(picture, quality))


def resized(factor: float) -> Attack:
    """To that share of both sides, bicubic."""
    return lambda picture, random: resize(picture, (round(picture.shape[1] * factor), round(picture.shape[0] * factor)))


def cropped(most: float) -> Attack:
    """Off each of the four sides an amount of its own, up to that share of the picture."""

    def attack(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
        height, width = picture.shape[:2]
        top, bottom, left, right = random.uniform(0, most, 4)
        rows = slice(round(top * height), height - round(bottom * height))
        columns = slice(round(left * width), width - round(right * width))
        return np.ascontiguousarray(picture[rows, columns])

    return attack


def brighter(factor: float) -> Attack:
    """All values times that, clipped."""
    return lambda picture, random: np.clip(np.rint(picture * factor), 0, 255).astype(np.uint8)


def mirrored(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Left and right swapped."""
    return np.ascontiguousarray(picture[:, ::-1])


def stretched_back(most: float) -> Attack:
    """Cropped, then stretched to the old size: the sides no longer scale alike."""
    cut = cropped(most)
    return lambda picture, random: resize(cut(picture, random), (picture.shape[1], picture.shape[0]))


def one_after_another(*attacks: Attack) -> Attack:
    """All of them, in turn."""

    def attack(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
        for one in attacks:
            picture = one(picture, random)
        return picture

    return attack


ATTACKS: dict[str, Attack] = {
    "none": lambda picture, random: picture,
    "JPEG 75": jpeg(75),
    "JPEG 50": jpeg(50),
    "resized x0.75": resized(0.75),
    "resized x0.5": resized(0.5),
    "cropped up to 4 %": cropped(0.04),
    "cropped up to 20 %": cropped(0.2),
    "cropped up to 4 %, stretched back": stretched_back(0.04),
    "brightness x1.2": brighter(1.2),
    "brightness x0.8": brighter(0.8),
    "mirrored": mirrored,
    "cropped, x1.2, x0.75, JPEG 75": one_after_another(cropped(0.04), brighter(1.2), resized(0.75), jpeg(75)),
}


PARTS = (0.5, 0.3, 0.2, 0.1)
"""Shares of a picture that an edit may have changed."""
ATTACKS_ON_PARTS = ("none", "JPEG 75", "resized x0.75", "cropped up to 4 %", "brightness x1.2", "mirrored")


def edited(picture: np.ndarray, share: float, amount: int = 3) -> np.ndarray:
    """The picture a little brighter in a disc in its middle, of this share of it: as if an edit had been there."""
    height, width = picture.shape[:2]
    y, x = np.ogrid[:height, :width]
    disc = (y - height / 2) ** 2 + (x - width / 2) ** 2 < share * height * width / np.pi
    return np.where(disc[..., None], np.where(picture > 255 - amount, picture - amount, picture + amount), picture)


def evaluate_watermark(
    folders: list[str], marked: int = 500, unmarked: int = 2000, seed: int = 0, progress: ProgressCallback | None = None
) -> dict[str, Any]:
    """Shares found under each attack, messages read wrongly, PSNR, and false alarms, over photographs of the folders.

    marked: how many are marked and attacked; unmarked: how many are looked at as they are; both drawn without
    repetition, from each folder alike as long as it lasts. ``InputError`` if there are not so many.
    """
    files = photographs(folders)
    if max(marked, unmarked) > len(files) or min(marked, unmarked) < 1:
        raise InputError(f"{len(files)} photographs: ask for 1 to so many, not {marked} marked and {unmarked} unmarked")
    random = np.random.default_rng(seed)
    order = in_turn(files, random)
    found = dict.fromkeys(ATTACKS, 0)
    misread = dict.fromkeys(ATTACKS, 0)
    scores: dict[str, list[float]] = {name: [] for name in ATTACKS}
    found_in_parts = {part: dict.fromkeys(ATTACKS_ON_PARTS, 0) for part in PARTS}
    misread_in_parts = 0
    psnr_of_parts: dict[float, list[float]] = {part: [] for part in PARTS}
    psnr = []
    for count, file in enumerate(order[:marked]):
        picture = read_picture(file)
        message = int(random.integers(2**BITS))
        with_mark = embed(picture, message)
        psnr.append(psnr_of(with_mark, picture))
        for name, attack in ATTACKS.items():
            result = detect(attack(with_mark, random))
            found[name] += result.found
            misread[name] += result.says(message, BITS) is False
            scores[name].append(result.score)
        for part in PARTS:
            after = edited(picture, part)
            with_mark = embed(after, message, picture)
            psnr_of_parts[part].append(psnr_of(with_mark, after))
            for name in ATTACKS_ON_PARTS:
                result = detect(ATTACKS[name](with_mark, random))
                found_in_parts[part][name] += result.found
                misread_in_parts += result.says(message, BITS) is False
        if progress:
            progress(count + 1, marked + unmarked)
    plain = []
    alarms: dict[str, dict[str, int]] = {}
    for count, file in enumerate(order[:unmarked]):
        plain.append(detect(read_picture(file)))
        of_folder = alarms.setdefault(file.parent.name, {"pictures": 0, "alarms": 0})
        of_folder["pictures"] += 1
        of_folder["alarms"] += plain[-1].found
        if progress:
            progress(marked + count + 1, marked + unmarked)
    return {
        "found": {name: found[name] / marked for name in ATTACKS},
        "found_but_message_misread": {name: misread[name] / marked for name in ATTACKS},
        "lowest_score": {name: min(scores[name]) for name in ATTACKS},
        "psnr_db": {"lowest": float(min(psnr)), "median": float(np.median(psnr))},
        "found_where_part_is_edited": {
            f"{part:.0%}": {name: count / marked for name, count in counts.items()}
            for part, counts in found_in_parts.items()
        },
        "found_where_part_is_edited_but_message_misread": misread_in_parts
        / (marked * len(PARTS) * len(ATTACKS_ON_PARTS)),
        "psnr_db_where_part_is_edited": {f"{part:.0%}": float(min(values)) for part, values in psnr_of_parts.items()},
        "false_alarms": sum(result.found for result in plain) / unmarked,
        "false_alarms_by_folder": dict(sorted(alarms.items())),
        "unmarked_highest_score": max(result.score for result in plain),
        # if the stated chances are honest, no more than 10 % and 1 % of unmarked pictures have these
        "unmarked_chance_below_0.1": sum(result.chance < 0.1 for result in plain) / unmarked,
        "unmarked_chance_below_0.01": sum(result.chance < 0.01 for result in plain) / unmarked,
    }


def in_turn(files: list[Path], random: np.random.Generator) -> list[Path]:
    """Shuffled, and one from each folder in turn."""
    turns: dict[Path, int] = {}
    places = []
    for index in random.permutation(len(files)):
        folder = files[index].parent
        turns[folder] = turns.get(folder, 0) + 1
        places.append((turns[folder], str(folder), files[index]))
    return [file for _, _, file in sorted(places)]


def photographs(folders: list[str]) -> list[Path]:
    """The pictures of the folders, without region maps: a PNG beside a photograph of the same name is its map."""
    files = picture_files(folders)
    photos = {file.with_suffix("") for file in files if file.suffix.lower() in SUFFIXES and file.suffix != ".png"}
    return [file for file in files if file.suffix != ".png" or file.with_suffix("") not in photos]
