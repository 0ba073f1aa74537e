"""The demonstration runs from the installed package alone and shows every bundled photograph."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from limner.cli.app import main
from limner.demo.show import PHOTOGRAPHS
from limner.faces.picture import read_picture
from limner.provenance.detect import detect


def test_demo_writes_a_sheet_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--steps", "1", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert str(tmp_path / "sheet.png") in printed and str(tmp_path / "index.html") in printed
    for photograph in PHOTOGRAPHS:
        assert f"{photograph.title}: 1 face read" in printed
    height, width, _ = read_picture(tmp_path / "sheet.png").shape
    assert width > 6 * 256 and height > (len(PHOTOGRAPHS) + 1) * 256
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("<h2>") == len(PHOTOGRAPHS) + 1  # and what was painted from words alone
    assert page.count('src="data:image/jpeg;base64,') == 6 * (len(PHOTOGRAPHS) + 1)
    assert "http:" not in page and "https:" not in page  # nothing is fetched
    pictures = [base64.b64decode(text) for text in re.findall(r"base64,([^\"]+)", page)]
    assert detect(read_picture(pictures[3])).found  # what is painted is marked …
    assert not detect(read_picture(pictures[1])).found  # … and what is read is not
