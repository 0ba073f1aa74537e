"""Sources: ids that are the same everywhere, people kept apart, clear words for what is no source."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.data.build import build
from limner.data.sources import open_sources
from limner.data.stages import RecordSettings
from limner.data.synthetic import INFO_FILE, LICENCE, W_FILE
from limner.errors import InputError

sys.path.insert(0, str(Path(__file__).parent))
import plain_reader


def picture(path: Path, colour: str = "orange") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (256, 256), colour).save(path)
    return path


@pytest.fixture
def synthetic(tmp_path: Path) -> Path:
    """A folder as `limner data synth` leaves it, with plain pictures."""
    place = tmp_path / "synth"
    for k in (3, 4):
        picture(place / f"{k:06d}.png")
    np.savez(place / W_FILE, ids=np.array(["000003", "000004"]), w=np.arange(1024, dtype=np.float16).reshape(2, 512))
    (place / INFO_FILE).write_text(json.dumps({"licence": LICENCE}))
    return place


def test_a_folder_is_searched_through_in_name_order(tmp_path: Path) -> None:
    for name in ("b.png", "a/2.jpg", "a/1.PNG", ".hidden/x.png", "a/.y.png", "a/b/z.webp"):
        picture(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    items = open_sources([tmp_path / "photos"], licence="CC0")
    assert [item.id for item in items] == ["photos/b.png", "photos/a/1.PNG", "photos/a/2.jpg", "photos/a/b/z.webp"]
    assert [item.person for item in items] == ["photos/b.png", "photos/a", "photos/a", "photos/a/b"]
    assert {item.licence for item in items} == {"CC0"} and not any(item.aligned for item in items)
    assert items[0].load() == (tmp_path / "photos" / "b.png").read_bytes()
    files = open_sources([tmp_path / "photos"], people="file")
    assert len({item.person for item in files}) == 4


def test_ids_do_not_depend_on_where_the_folder_lies(tmp_path: Path) -> None:
    picture(tmp_path / "one" / "photos" / "a.png")
    picture(tmp_path / "two" / "photos" / "a.png")
    one, two = (open_sources([tmp_path / name / "photos"])[0] for name in ("one", "two"))
    assert one.id == two.id == "photos/a.png"
    both = open_sources([tmp_path / "one" / "photos", tmp_path / "two" / "photos"])
    assert [item.id for item in both] == ["photos/a.png", "photos-2/a.png"]


def test_a_synthetic_set_brings_its_vectors(synthetic: Path) -> None:
    items = open_sources([synthetic])
    assert [item.id for item in items] == ["synth/000003", "synth/000004"]
    assert all(item.aligned and item.licence == LICENCE for item in items)
    assert items[1].w is not None and items[1].w.dtype == np.float16 and items[1].w[0] == 512


def test_vectors_may_lie_beside_the_folder(synthetic: Path) -> None:
    (synthetic / W_FILE).rename(synthetic.with_name("synth_w.npz"))
    (synthetic / INFO_FILE).unlink()
    items = open_sources([synthetic])
    assert all(item.aligned and item.w is not None for item in items)


def test_a_built_set_is_a_source_again(synthetic: Path, tmp_path: Path) -> None:
    settings = RecordSettings(captions=1, prompts=0, questions=0)
    build(open_sources([synthetic]), tmp_path / "set", settings, 1, load_reader=plain_reader.load)
    again = open_sources([tmp_path / "set"])
    assert sorted(item.id for item in again) == ["synth/000003", "synth/000004"]
    item = next(item for item in again if item.id.endswith("4"))
    assert item.aligned and item.licence == LICENCE and item.w is not None and item.w[0] == 512
    assert item.load()[:2] == b"\xff\xd8"


def test_lists(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "sub" / "b.png")
    (tmp_path / "list.txt").write_text("a.png\n\nsub/b.png\n")
    (tmp_path / "list.csv").write_text("path,licence,person\na.png,CC0,ann\nsub/b.png,,ann\n")
    (tmp_path / "list.jsonl").write_text('{"path": "a.png", "person": "ann"}\n')
    assert [item.id for item in open_sources([tmp_path / "list.txt"])] == ["list/a.png", "list/sub/b.png"]
    table = open_sources([tmp_path / "list.csv"], licence="mine")
    assert [item.licence for item in table] == ["CC0", "mine"] and {item.person for item in table} == {"list/ann"}
    assert open_sources([tmp_path / "list.jsonl"])[0].load()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("bad.jsonl", "{", "line 1 is not JSON"),
        ("bad.jsonl", "[1]", "not a JSON object"),
        ("bad.csv", "file\na.png\n", "line 2: no path"),
        ("empty.txt", "\n", "holds no pictures"),
    ],
)
def test_bad_lists_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        open_sources([tmp_path / name])


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file or folder"):
        open_sources([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        open_sources([tmp_path / "empty"])
    with pytest.raises(InputError, match="no sources"):
        open_sources([])
    with pytest.raises(InputError, match="people"):
        open_sources([tmp_path], people="family")
    picture(tmp_path / "synth" / "a.png")
    (tmp_path / "synth" / W_FILE).write_bytes(b"junk")
    with pytest.raises(InputError, match="w vectors"):
        open_sources([tmp_path / "synth"])
