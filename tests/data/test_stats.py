"""Statistics of words: numbers that can be counted by hand, a page that stands alone."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from limner.cli.app import main
from limner.data.build import build
from limner.data.shards import iterate
from limner.data.sources import open_sources
from limner.data.stages import RecordSettings
from limner.data.stats import FAMILIES, compare, published, word_statistics
from limner.faces.picture import read_picture
from limner.words.grammar import count_tokens

sys.path.insert(0, str(Path(__file__).parent))
import plain_reader
from plain_reader import make_pictures


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("stats")
    settings = RecordSettings(captions=2, prompts=1, questions=5, min_size=30)
    photos = make_pictures(place / "photos", 6)
    build(open_sources([photos]), place / "set", settings, workers=1, load_reader=plain_reader.load)
    return place / "set"


def test_numbers_are_what_one_counts(built: Path) -> None:
    numbers, rows = word_statistics(built), list(iterate(built))
    captions = [text for row in rows for text in row["captions"]]
    facts = [json.loads(entry["facts"]) for row in rows for entry in row["stated"][:2]]
    assert numbers["pictures"] == 6 and numbers["captions"] == len(captions) == 12 == len(facts)
    assert numbers["tokens_per_caption"]["mean"] == round(float(np.mean([count_tokens(t) for t in captions])), 2)
    assert numbers["attributes_per_caption"]["mean"] == round(float(np.mean([len(f) for f in facts])), 2)
    mentions = sum(n for attributes in numbers["wheel"].values() for v in attributes.values() for n in v.values())
    assert mentions == sum(map(len, facts))  # the prompts' facts are not counted
    families = sum(found["mean"] for found in numbers["by_family"].values())
    assert families == pytest.approx(numbers["attributes_per_caption"]["mean"], abs=0.03)
    assert numbers["questions"] == 30 == sum(numbers["kinds"].values()) == sum(numbers["about"].values())
    assert sum(numbers["histograms"]["tokens"].values()) == 12


def test_published_numbers_stay_in_their_column(built: Path) -> None:
    reference = published()["UniF2aceD-1M"]
    table = {name: (ours, theirs) for name, ours, theirs in compare(word_statistics(built))}
    assert table["pictures"] == ("6", "130,000") and table["attributes per caption"][1] == "17.7"
    assert table["of these emotion"][1] == "–" and "2503.08120" in reference["source"]


def test_the_page_stands_alone(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "stats", str(built), "--out", str(tmp_path / "s")]) == 0
    assert "17.7" in capsys.readouterr().out
    names = {"words.json", "index.html", "wheel.png", "tokens.png", "attributes.png", "kinds.png"}
    assert {path.name for path in (tmp_path / "s").iterdir()} == names
    page = (tmp_path / "s" / "index.html").read_text()
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'src="([^"]{30})', page))
    assert page.count("<img") == 4 and "http" not in page and "published" in page
    wheel = read_picture(tmp_path / "s" / "wheel.png").reshape(-1, 3)
    for colour in ((59, 110, 168), (201, 111, 46), (75, 155, 99)):  # the three families' inner ring
        assert (np.abs(wheel.astype(int) - colour).sum(1) < 6).sum() > 50
    assert main(["data", "stats", str(built), "--out", str(tmp_path / "t"), "--no-plots", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed["wheel"]) == {*FAMILIES, "picture"}
    stored = json.loads((tmp_path / "t" / "words.json").read_text())
    assert stored["figures"] == printed and stored["settings"] == {"set": str(built)} and "machine" in stored
    assert {path.name for path in (tmp_path / "t").iterdir()} == {"words.json", "index.html"}
