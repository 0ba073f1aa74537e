"""What the documents tell a newcomer to type works, and what they link to is there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

import limner
from limner.cli.app import VERBS, main

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
INSTALLS = ("python3 -m venv", "make ")  # done before anything here can run


def blocks(language: str) -> list[str]:
    """The README's code blocks in one language."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory):
    """A folder as the README imagines it: a photograph in it, the repository's own files beside."""
    folder = tmp_path_factory.mktemp("desk")
    Image.fromarray(data.astronaut()).save(folder / "photo.jpg", quality=95)
    people = Path(limner.__file__).parent / "demo" / "photographs"
    for name, number in (("her", 10016), ("party", 10018), ("driver", 10015)):
        shutil.copy(people / f"face-{number}.jpg", folder / f"{name}.jpg")
    (folder / "src").symlink_to(ROOT / "src")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def test_every_command_of_the_readme_works(desk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = [line for block in blocks("bash") for line in block.splitlines() if line and not line.startswith(INSTALLS)]
    assert len(lines) >= 6
    for line in lines:
        words = shlex.split(line, comments=True)
        assert Path(words[0]).name == "limner", line
        assert main(words[1:]) == 0, f"{line}\n{capfd.readouterr().err}"
    made = {path.relative_to(desk).as_posix() for path in desk.rglob("*.png") if "src/" not in path.as_posix()}
    assert {"seen.png", "maps/photo.0.png", "painted/7.png", "painted/grid.png", "swapped.png", "moved.png"} <= made


def test_the_python_of_the_readme_works(desk: Path) -> None:
    (script,) = blocks("python")
    names: dict = {}
    exec(compile(script, "README.md", "exec"), names)
    assert len(names["faces"]) == 1 and len(names["pictures"]) == 2
    assert np.asarray(names["pictures"][0].image).shape == (256, 256, 3)
    assert (desk / "portrait.png").is_file()


@pytest.mark.parametrize("document", DOCUMENTS, ids=[path.relative_to(ROOT).as_posix() for path in DOCUMENTS])
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r'src="([^"]+)"', text)
    broken = [target for target in targets if "://" not in target and not (document.parent / target).exists()]
    assert not broken


def sub_verbs() -> list[tuple[str, ...]]:
    """Every command of a verb that has several."""
    import importlib

    import typer

    found = []
    for verb in VERBS:
        group = getattr(importlib.import_module(verb.module), verb.attribute)
        if isinstance(group, typer.Typer):
            names = [c.name or c.callback.__name__.replace("_", "-") for c in group.registered_commands if c.callback]
            found += [(verb.name, name) for name in names]
    return found


@pytest.mark.parametrize("words", sub_verbs(), ids=" ".join)
def test_help_of_every_command_below_a_verb(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"limner {' '.join(words)}" in text and "--help" in text
