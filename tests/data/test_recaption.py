"""Words written anew: by rules or by models behind a real server, through faults and kills, and never paid twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from limner.cli.app import main
from limner.data.build import build
from limner.data.recaption import ANSWERS
from limner.data.shards import read_shards
from limner.data.sources import open_sources
from limner.data.stages import RecordSettings

sys.path.insert(0, str(Path(__file__).parent))
import plain_reader
from plain_reader import make_pictures

from chat.model_server import CAPTION, ModelServer, cut_off, no_completion, say, saying

FACES = 6


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("built")
    photos = make_pictures(place / "photos", FACES, size=128)
    settings = RecordSettings(captions=1, prompts=2, questions=2, min_size=30)
    build(open_sources([photos]), place / "set", settings, workers=1, load_reader=plain_reader.load)
    return place / "set"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    with ModelServer().running() as running:
        monkeypatch.setenv("LIMNER_VLM_URL", running.url)
        monkeypatch.setenv("LIMNER_VLM_EXTRA", "{}")
        yield running


def words(built: Path, out: Path, *more: str) -> list[str]:
    return ["data", "write", str(built), "--out", str(out), "--vlm", "seer", "--yes", *more]


def rows(folder: Path) -> list[dict[str, Any]]:
    return read_shards(folder).to_pylist()


def test_models_write_in_three_stages(built: Path, server: ModelServer, tmp_path: Path) -> None:
    assert main(words(built, tmp_path / "new", "--llm", "thinker", "--questions", "3")) == 0
    assert len(server.bodies) == 3 * FACES and all(n == 1 for n in server.paid.values())
    by_model = [body["model"] for body in server.bodies]
    assert by_model.count("seer") == 2 * FACES and by_model.count("thinker") == FACES
    pictures = [isinstance(body["messages"][1]["content"], list) for body in server.bodies]
    assert pictures.count(True) == 2 * FACES  # the language model sees none
    refining = [str(body["messages"]) for body in server.bodies if "Measured:" in str(body["messages"])]
    assert all("Mark" in text for text in refining) and any("hair colour: " in text for text in refining)
    old, new = rows(built), rows(tmp_path / "new")
    for before, after in zip(old, new, strict=True):
        for name in ("id", "image", "regions", "landmarks", "attributes", "split", "person"):
            assert before[name] == after[name]
        assert after["captions"][0].startswith(f"Refined. {CAPTION}") and len(after["captions"]) == 1
        stated = after["stated"][0]
        assert stated["style"] == "written" and json.loads(stated["facts"])["hair_colour"] == "brown"
        asked = after["questions"]
        assert len(asked) == 3 and asked[0]["value"] == "yes" and asked[1]["about"] == "hair_colour"
        assert asked[0]["about"] == "" and asked[1]["value"] == "brown"
        assert len(after["stated"]) == 1 + len(after["prompts"])
    manifest = json.loads((tmp_path / "new" / "manifest.json").read_text())
    assert manifest["complete"] and manifest["rows"] == FACES and manifest["written"]["vlm"]["model"] == "seer"
    assert main(words(built, tmp_path / "new", "--llm", "thinker", "--questions", "3")) == 0  # nothing is left to do
    assert len(server.bodies) == 3 * FACES


def test_faults_change_nothing_but_the_number_of_requests(built: Path, server: ModelServer, tmp_path: Path) -> None:
    server.faults = [500, cut_off, 429, no_completion, saying("no JSON"), saying('{"caption": 5}')]
    assert main(words(built, tmp_path / "new", "--concurrency", "3")) == 0
    assert len(rows(tmp_path / "new")) == FACES and server.most_at_once <= 3
    journal = [json.loads(line) for line in (tmp_path / "new" / ANSWERS).read_text().splitlines()]
    assert sum("answer" in record for record in journal) == 3 * FACES + 2
    assert sum("lost" in record for record in journal) == 2


def test_refused_faces_are_left_out_and_said(
    built: Path, server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults = [saying('{"refusal": "no face"}'), saying("", message={"refusal": "I would rather not"})]
    assert main(words(built, tmp_path / "new", "--concurrency", "1")) == 0
    errors = [json.loads(line) for line in (tmp_path / "new" / "errors.jsonl").read_text().splitlines()]
    assert [error["reason"] for error in errors] == ["vlm refused: no face", "vlm refused: I would rather not"]
    left = {row["id"] for row in rows(built)} - {row["id"] for row in rows(tmp_path / "new")}
    assert left == {error["id"] for error in errors} and "2 faces were refused" in capsys.readouterr().out


def test_a_killed_run_goes_on_and_pays_nothing_twice(built: Path, server: ModelServer, tmp_path: Path) -> None:
    server.delay, threads = 0.3, 2
    command = [sys.executable, "-m", "limner", *words(built, tmp_path / "new", "--concurrency", str(threads))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while sum(server.paid.values()) < 7:
        assert running.poll() is None
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    while server.at_once:
        time.sleep(0.02)
    server.delay = 0
    kept = [json.loads(line) for line in (tmp_path / "new" / ANSWERS).read_bytes().split(b"\n")[:-1]]
    assert 7 - threads <= len(kept) < 3 * FACES
    before = server.paid.copy()
    assert main(words(built, tmp_path / "new")) == 0
    again = [body for body in server.paid if before[body] and server.paid[body] > before[body]]
    assert len(again) <= threads  # what had left the server and not reached the disk
    assert len(rows(tmp_path / "new")) == FACES
    journal = [json.loads(line) for line in (tmp_path / "new" / ANSWERS).read_text().splitlines()]
    assert len({record["key"] for record in journal}) == len(journal) == 3 * FACES
    assert journal[: len(kept)] == kept


def test_a_dead_endpoint_ends_the_run_and_keeps_what_is_there(
    built: Path, server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answers_then_dies(body: dict[str, Any]) -> str:
        if len(server.bodies) >= 6:
            server.faults = [401] * 100
        return say(body)

    server.say = answers_then_dies
    assert main(words(built, tmp_path / "new", "--concurrency", "1")) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: the vlm at http://127.0.0.1")
    kept, server.say, server.faults = len(server.paid), say, []
    assert main(words(built, tmp_path / "new", "--concurrency", "1")) == 0
    assert len(server.paid) == 3 * FACES and kept >= 6 and all(n == 1 for n in server.paid.values())


def test_the_cost_is_shown_and_kept(
    built: Path, server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    price = ["--vlm-price", "1/10"]
    plain = [word for word in words(built, new, *price) if word != "--yes"]
    assert main(plain) == 2  # nobody is there to agree
    error = capsys.readouterr().err
    assert "12 requests" in error and "6 requests" in error and "about 0." in error and "pass --yes" in error
    assert main([*plain, "--dry-run"]) == 0
    assert main(words(built, new, "--max-cost", "1")) == 2
    assert "needs the price of the vlm" in capsys.readouterr().err
    assert main(words(built, new, *price, "--max-cost", "0.01")) == 2
    assert "expected to cost" in capsys.readouterr().err and not server.bodies
    # answers far longer than expected: the run stops before the limit, and goes on with a higher one
    server.say = lambda body: say_more(body)
    assert main(words(built, new, *price, "--max-cost", "0.15", "--concurrency", "2")) == 2
    assert "raise it to go on" in capsys.readouterr().err
    paid = len(server.paid)
    spent = sum((1000 + 10 * len(say_more(json.loads(body))) // 4) / 1e6 for body in server.paid)
    assert 0.08 < spent <= 0.15
    assert main(words(built, new, *price, "--max-cost", "5")) == 0
    assert len(server.paid) == 3 * FACES > paid and all(n == 1 for n in server.paid.values())


def say_more(body: dict[str, Any]) -> str:
    return say(body) + " " * 4000


def test_rules_write_without_a_network(built: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert main(["data", "write", str(built), "--out", str(new), "--captions", "3", "--seed", "5"]) == 0
    for before, after in zip(rows(built), rows(new), strict=True):
        assert len(after["captions"]) == 3 and len(after["questions"]) == 10
        assert before["captions"][0] not in after["captions"]
    assert not (new / ANSWERS).exists()
    # the words a build writes, when the settings are a build's
    same = tmp_path / "same"
    settings = ["--captions", "1", "--questions", "2"]
    assert main(["data", "write", str(built), "--out", str(same), *settings]) == 0
    assert [row["captions"] for row in rows(same)] == [row["captions"] for row in rows(built)]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out", "{set}"], "is the set itself"),
        (["--out", "new", "--llm", "x"], "the LLM writes questions about the descriptions of the VLM"),
        (["--out", "new", "--vlm", "x"], "where is the vlm? Set LIMNER_VLM_URL"),
        (["--out", "full"], "holds other files"),
        (["--out", "new", "--vlm", "x", "--vlm-price", "2"], "is not like 0.15/0.60"),
    ],
)
def test_mistakes_get_one_line(
    more: list[str], message: str, built: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    assert main(["data", "write", str(built), *(word.format(set=built) for word in more)]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_set_is_not_continued_with_other_settings(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["data", "write", str(built), "--out", str(tmp_path / "new")]
    assert main(base) == 0 and main([*base, "--seed", "1"]) == 2
    assert "begun with another" in capsys.readouterr().err
    assert main(["data", "write", str(built), "--out", str(built.parent / "set2"), "--limit", "4"]) == 0
    assert len(rows(built.parent / "set2")) == 4
