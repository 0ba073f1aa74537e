"""The command line: quick to start, one line for every fault, and the right status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

import limner
from limner.cli.app import EXTRAS, VERBS, Verb, main, run
from limner.errors import InputError
from limner.weights.registry import EMBEDDED, registry

PHOTO = Path(limner.__file__).parent / "demo" / "photographs" / "astronaut.jpg"
HEAVY = {"torch", "numpy", "PIL", "transformers", "diffusers", "onnxruntime", "pyarrow", "pydantic", "rich", "typer"}


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import limner", set()),
        ("from limner.cli.app import main; main(['--help'])", set()),
        ("from limner.cli.app import main; main(['models', 'list', '--json'])", {"typer", "rich", "pydantic"}),
    ],
    ids=["import limner", "limner --help", "limner models list"],
)
def test_starting_loads_nothing_heavy(code: str, allowed: set[str]) -> None:
    """Times vary from machine to machine; what was imported does not."""
    script = f"import sys\n{code}\nprint(*sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(ended.stderr.split()) <= allowed


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["paint", "a man", "--steps", "1", "--out", "one.png"], ["read", str(PHOTO)], ["describe", str(PHOTO)]]
)
def test_everyday_verbs_start_without_what_they_do_not_use(words: list[str], tmp_path: Path) -> None:
    """Diffusers alone takes longer to import than a picture to paint."""
    unused = {"diffusers", "transformers", "pyarrow", "peft", "einops", "gradio", "fastapi", "matplotlib"}
    script = (
        f"import sys\nfrom limner.cli.app import main\nstatus = main({words!r})\n"
        f"print(*sorted({unused!r} & set(sys.modules)), file=sys.stderr)\nsys.exit(status)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.split() == []


def test_installed_command_runs() -> None:
    command = Path(sys.executable).with_name("limner")
    ended = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert ended.stdout == f"limner {limner.__version__}\n"
    module = subprocess.run([sys.executable, "-m", "limner", "--version"], capture_output=True, text=True, check=True)
    assert module.stdout == ended.stdout


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for verb in VERBS:
        assert f"  {verb.name} " in text
        assert verb.help in text


@pytest.mark.parametrize("verb", VERBS, ids=[verb.name for verb in VERBS])
def test_help_of_every_verb(verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb.name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"limner {verb.name}" in text
    assert "Options" in text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["modles"], "no verb is called 'modles': did you mean 'models'?"),
        (["xyzzy"], "no verb is called 'xyzzy': `limner --help` lists the verbs"),
        (["--quick"], "no option is called '--quick': `limner --help` lists the verbs"),
        (["models", "where", "minilmm"], "no weights are called 'minilmm': did you mean minilm?"),
        (
            ["models", "pull", "clip-l", "--offline"],
            "weights 'clip-l' are not on this machine: pull them once without --offline",
        ),
    ],
)
def test_faults_are_one_line_and_status_two(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == f"error: {line}\n"


def test_wrong_options_are_status_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--no-such-option"]) == 2
    assert "--no-such-option" in capsys.readouterr().err


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Function: source of a verb's file → the verb."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(source: str) -> Verb:
        (tmp_path / "made_verb.py").write_text(source)
        sys.modules.pop("made_verb", None)
        return Verb("made", "made_verb", "made", "Made in a test.")

    yield make
    sys.modules.pop("made_verb", None)


def test_missing_extra_says_which(module) -> None:
    with pytest.raises(InputError, match=r"pip install 'limner\[video\]'") as caught:
        run(module("def made():\n    import sys; sys.modules['av'] = None; import av"), [])
    del sys.modules["av"]
    assert "\n" not in str(caught.value)


def test_missing_module_that_is_no_extra_is_a_bug_and_shows(module) -> None:
    with pytest.raises(ModuleNotFoundError):
        run(module("def made():\n    import no_such_module_of_ours"), [])


def test_extras_exist() -> None:
    installed = metadata("limner")
    assert set(EXTRAS.values()) <= set(installed.get_all("Provides-Extra") or [])
    assert installed["Version"] == limner.__version__


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("pass", 0),
        ("import typer; raise typer.Exit(1)", 1),
        ("raise KeyboardInterrupt", 130),
        ("from limner.errors import InputError; raise InputError('give a photo')", 2),
    ],
)
def test_status_of_a_verb(module, monkeypatch: pytest.MonkeyPatch, body: str, status: int) -> None:
    monkeypatch.setattr("limner.cli.app.VERBS", (module(f"def made():\n    {body}"),))
    assert main(["made"]) == status


def test_a_bug_is_not_dressed_as_a_users_fault(module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limner.cli.app.VERBS", (module("def made():\n    return 1 / 0"),))
    with pytest.raises(ZeroDivisionError):
        main(["made"])


def test_models_list_json_has_every_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == list(registry())
    assert rows["minilm"]["here"] is True
    assert rows["minilm"]["in_package"] is True
    assert rows["clip-l"]["here"] is False
    assert rows["clip-l"]["hub"]["repo"] == "openai/clip-vit-large-patch14"


def test_models_list_shows_every_name_in_a_narrow_terminal(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    assert main(["models", "list"]) == 0
    words = capsys.readouterr().out.split()
    assert set(registry()) <= set(words)


def test_models_where(capsys: pytest.CaptureFixture[str], limner_home: Path) -> None:
    assert main(["models", "where"]) == 0
    assert capsys.readouterr().out.strip() == str(limner_home)
    assert main(["models", "where", "minilm", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"minilm": str(EMBEDDED / "minilm")}


def test_models_verify_says_ok_or_bad(monkeypatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify", "minilm"]) == 0
    assert capsys.readouterr().out == "ok   minilm\n"
    (tmp_path / "minilm").mkdir()
    for file in (EMBEDDED / "minilm").iterdir():
        (tmp_path / "minilm" / file.name).write_bytes(file.read_bytes()[:-1] + b"?")
    monkeypatch.setattr("limner.weights.store.EMBEDDED", tmp_path)
    assert main(["models", "verify", "minilm"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("BAD  weights 'minilm'")
    assert captured.err.count("\n") == 1
    assert main(["models", "verify", "minilm", "--json"]) == 1
    (row,) = json.loads(capsys.readouterr().out)
    assert "other content" in row["fault"]


def test_models_pull_of_embedded_weights_prints_the_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "minilm"]) == 0
    assert capsys.readouterr().out.startswith("minilm: licence Apache-2.0\n")


@pytest.mark.parametrize(
    ("shell", "words", "wanted"),
    [
        ("bash", "limner pa", ["paint"]),
        ("bash", "limner paint --mas", ["--mask", "--mask-guidance"]),
        ("bash", "limner models ver", ["verify"]),
        ("fish", "limner comp", ["compare"]),
    ],
)
def test_a_shell_completes_verbs_and_options(shell: str, words: str, wanted: list[str]) -> None:
    """As a shell asks, by the variables of typer's own scripts."""
    asked = {"_LIMNER_COMPLETE": f"complete_{shell}", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1),
             "_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-m", "limner"], env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    assert [line.split("\t")[0].split()[0] for line in ended.stdout.splitlines()] == wanted


def test_the_completion_script_is_shown() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "limner", "--show-completion", "bash"], capture_output=True, text=True, check=True,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )  # fmt: skip
    assert "_LIMNER_COMPLETE=complete_bash" in shown.stdout
