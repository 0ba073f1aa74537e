"""Names of results: nothing that exists is replaced without being asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from limner.cli.outputs import numbered_names, refuse_existing, unused_name
from limner.errors import InputError


def test_a_taken_name_gets_the_first_free_number(tmp_path: Path) -> None:
    file = tmp_path / "a.b.png"
    assert unused_name(file, overwrite=False) == file
    file.touch()
    (tmp_path / "a.b-2.png").touch()
    assert unused_name(file, overwrite=False).name == "a.b-3.png"
    assert unused_name(file, overwrite=True) == file


def test_a_series_goes_on_after_the_highest_number(tmp_path: Path) -> None:
    def names(*numbers: int, overwrite: bool = False) -> list[str]:
        return [file.name for file in numbered_names(tmp_path, numbers, ".png", overwrite)]

    assert names(7, 8) == ["7.png", "8.png"]
    for taken in ("8.png", "12.png", "40.jpg", "x99.png"):
        (tmp_path / taken).touch()
    assert names(0, 1) == ["0.png", "1.png"]  # free, so a seed keeps its name
    assert names(7, 8) == ["13.png", "14.png"]
    assert names(7, 8, overwrite=True) == ["7.png", "8.png"]


def test_a_named_file_that_exists_is_refused(tmp_path: Path) -> None:
    refuse_existing(tmp_path / "x.png", overwrite=False)
    (tmp_path / "x.png").touch()
    refuse_existing(tmp_path / "x.png", overwrite=True)
    with pytest.raises(InputError, match="--overwrite"):
        refuse_existing(tmp_path / "x.png", overwrite=False)
