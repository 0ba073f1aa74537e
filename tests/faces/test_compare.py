"""Who is who: two faces compared, and a folder searched."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import limner
from limner.cli.app import main
from limner.errors import InputError
from limner.faces.reader import FaceReader
from limner.faces.search import INDEX, update_index

PHOTOGRAPHS = Path(limner.__file__).parent / "demo" / "photographs"


@pytest.fixture(scope="module")
def model() -> limner.Toolkit:
    return limner.load()


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    """Two demo photographs, the astronaut darker and smaller in a folder below, a landscape."""
    folder = tmp_path_factory.mktemp("people")
    for name in ("astronaut.jpg", "face-10015.jpg"):
        shutil.copy(PHOTOGRAPHS / name, folder)
    (folder / "more").mkdir()
    darker = Image.fromarray((astronaut * 0.7).astype(np.uint8)).resize((300, 300))
    darker.save(folder / "more" / "her again.jpg")
    Image.new("RGB", (200, 150), (90, 120, 140)).save(folder / "nobody.png")
    return folder


def test_compare_knows_one_from_another(model: limner.Toolkit, people: Path, astronaut: np.ndarray) -> None:
    again = model.compare(astronaut, people / "more" / "her again.jpg")
    assert again.same and 0 < again.distance < again.threshold == 0.6
    others = [file for file in people.glob("*.jpg") if file.name != "astronaut.jpg"]
    assert others
    for other in others:
        assert not model.compare(astronaut, other).same
    swapped = model.compare(people / "more" / "her again.jpg", astronaut)
    assert swapped.distance == pytest.approx(again.distance)
    assert model.compare(again.faces[0], again.faces[0]).distance == 0


def test_compare_refuses_what_cannot_be_compared(model: limner.Toolkit, people: Path, astronaut: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"no face was found in nobody\.png"):
        model.compare(astronaut, people / "nobody.png")
    with pytest.raises(InputError, match="there is no face 2"):
        model.compare(astronaut, astronaut, face_b=2)
    bare = model.reader.read(astronaut, recognise=False)[0]
    with pytest.raises(InputError, match="no identity vector"):
        model.compare(bare, astronaut)


def test_find_lists_the_nearest_first(model: limner.Toolkit, people: Path, astronaut: np.ndarray) -> None:
    matches = model.find(astronaut, people, top_k=None)
    assert [match.path.name for match in matches[:2]] == ["astronaut.jpg", "her again.jpg"]
    distances = [match.distance for match in matches]
    assert distances == sorted(distances) and [match.same for match in matches[:3]] == [True, True, False]
    assert model.find(astronaut, people, top_k=1)[0].path == matches[0].path
    face = model.read(people / "more" / "her again.jpg")[0]
    assert matches[1].distance == pytest.approx(model.compare(astronaut, face).distance, abs=1e-4)
    assert np.allclose(matches[1].box, face.box, atol=0.1)


def test_only_what_changed_is_read_again(people: Path, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    shutil.copytree(people, folder)
    (folder / INDEX).unlink(missing_ok=True)
    reader = FaceReader.load()
    asked: list[str] = []
    read_many = reader.read_many

    def noting(photos, *args, **kwargs):
        return read_many([asked.append(Path(photo).name) or photo for photo in photos], *args, **kwargs)

    reader.read_many = noting  # type: ignore[method-assign]
    first = update_index(folder, reader)
    assert set(asked) == {path.name for path in folder.rglob("*") if path.suffix in (".jpg", ".png")}
    written = (folder / INDEX).stat().st_mtime_ns
    asked.clear()
    again = update_index(folder, reader)
    assert asked == [] and len(again) == len(first) and (folder / INDEX).stat().st_mtime_ns == written
    os.utime(folder / "astronaut.jpg", ns=(0, 0))
    (folder / "more" / "her again.jpg").unlink()
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    changed = update_index(folder, reader)
    assert sorted(asked) == ["astronaut.jpg", "broken.jpg"] and len(changed) == len(first) - 1
    assert len(changed.errors) == 1 and "broken.jpg" in changed.errors[0]
    asked.clear()
    update_index(folder, reader, min_score=0.6)  # another threshold: every photo is read again
    assert len(asked) > 2


def test_an_index_is_parquet_and_nothing_else_is_overwritten(
    model: limner.Toolkit, people: Path, tmp_path: Path, astronaut: np.ndarray
) -> None:
    model.find(astronaut, people, index=tmp_path / "faces.parquet")
    table = pq.read_table(tmp_path / "faces.parquet")
    assert len(table.filter(table["face"].to_numpy() > 0)["identity"][0]) == 128
    assert {"file", "face", "box", "score"} <= set(table.column_names) and "nobody.png" in table["file"].to_pylist()
    for wrong, said in ((b"notes", "no Parquet file"), (None, "not an index")):
        file = tmp_path / "mine.parquet"
        if wrong is None:
            pq.write_table(table.replace_schema_metadata(None), file)
        else:
            file.write_bytes(wrong)
        before = file.read_bytes()
        with pytest.raises(InputError, match=said):
            model.find(astronaut, people, index=file)
        assert file.read_bytes() == before
    with pytest.raises(InputError, match="not a folder"):
        model.find(astronaut, people / "astronaut.jpg")
    with pytest.raises(InputError, match="top_k"):
        model.find(astronaut, people, top_k=0)


def test_the_verbs(people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    her, again = str(people / "astronaut.jpg"), str(people / "more" / "her again.jpg")
    other = str(next(file for file in people.glob("*.jpg") if file.name != "astronaut.jpg"))
    assert main(["compare", her, again]) == 0
    assert "the same person: distance 0." in capsys.readouterr().out
    assert main(["compare", her, other, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["same"] is False and found["distance"] > found["threshold"]
    assert main(["compare", her, str(people / "nobody.png")]) == 2
    assert "no face was found in nobody.png" in capsys.readouterr().err
    index = str(tmp_path / "index.parquet")
    assert main(["find", her, str(people), "--top", "2", "--index", index, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [Path(row["file"]).name for row in rows] == ["astronaut.jpg", "her again.jpg"] and rows[0]["same"] == "True"
    assert main(["find", her, str(people), "--top", "1", "--index", index]) == 0
    assert "astronaut.jpg" in capsys.readouterr().out
