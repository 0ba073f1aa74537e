"""What is shipped: the wheel holds the code, the weights and the photographs, and nothing else; licences; the bill."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from limner.weights.registry import registry

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import audit
import metadata as tool

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel() -> set[str]:
    return {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}


def test_the_wheel_holds_code_weights_and_photographs(wheel: set[str]) -> None:
    code = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    assert code <= wheel
    embedded = {f"limner/weights/files/{entry.name}/{file.path}" for entry in registry().values() if entry.embedded
                for file in entry.files}  # fmt: skip
    found = {name for name in wheel if name.startswith("limner/weights/")}
    names = {tuple(name.split("/")[-2:]) for name in found}
    assert embedded and {tuple(name.split("/")[-2:]) for name in embedded} <= names
    assert any(name.endswith("astronaut.jpg") for name in wheel) and any(name.endswith(".grammar") for name in wheel)


def test_the_wheel_holds_nothing_else(wheel: set[str]) -> None:
    assert all(name.startswith("limner/") for name in wheel)
    assert not [
        name for name in wheel if "__pycache__" in name or name.endswith((".pyc", ".pt", ".pth", ".bin", ".pkl"))
    ]


def test_the_source_archive_can_be_tested_and_built_from() -> None:
    names = {file.distribution_path for file in SdistBuilder(str(ROOT)).recurse_included_files()}
    for wanted in ("constraints.txt", "Makefile", "NOTICE", "tests/conftest.py",
                   "configs/face-parser.toml", "examples/slurm/train.sbatch"):  # fmt: skip
        assert wanted in names


def test_the_metadata_say_what_it_is_and_what_it_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["readme"] == "README.md" and project["authors"] and project["urls"]
    core = {re.split(r"[<>=;\[ ]", line)[0] for line in project["dependencies"]}
    assert not core & {"einops", "peft", "pyarrow", "transformers", "gradio", "fastapi"}
    extras = project["optional-dependencies"]
    own = {name for lines in extras.values() for line in lines for name in re.findall(r"^limner\[(.*)\]$", line)}
    assert {part for name in own for part in name.split(",")} <= set(extras), "extras name extras that exist"


def test_python_versions_are_said_and_checked_for() -> None:
    """Ruff and pyright read the code as the oldest Python would: what is newer is an error there."""
    facts = metadata("limner")
    oldest = re.fullmatch(r">=3\.(\d+)", facts["Requires-Python"])
    assert oldest is not None
    text = (ROOT / "pyproject.toml").read_text()
    assert f'target-version = "py3{oldest[1]}"' in text and f'pythonVersion = "3.{oldest[1]}"' in text


@pytest.mark.parametrize(
    ("said", "fine"),
    [
        ("MIT", True), ("Apache-2.0 AND BSD-3-Clause", True), ("GPL-3.0-only", False), ("MIT AND GPL-3.0-only", False),
        ("GPL-2.0-only OR MIT", True), ("BSD License; GNU General Public License (GPL)", True), ("unknown", False),
        ("Other/Proprietary License", False),
    ],
)  # fmt: skip
def test_licences_are_judged(said: str, fine: bool) -> None:
    assert tool.allowed(said) == fine


def test_the_bill_of_materials_names_packages_and_weights() -> None:
    bill = tool.bill()
    kinds = {entry["name"]: entry for entry in bill["components"]}
    assert bill["bomFormat"] == "CycloneDX" and kinds["torch"]["purl"].startswith("pkg:pypi/torch@")
    weights = [entry for entry in bill["components"] if entry["type"] == "machine-learning-model"]
    assert weights and all(re.fullmatch("[0-9a-f]{64}", entry["hashes"][0]["content"]) for entry in weights)
    assert json.loads(json.dumps(bill)) == bill


SKIPPED = {"name": "numpy", "skip_reason": "Dependency not found on PyPI and could not be audited: numpy (2.4.6)"}
SAFE = {"name": "rich", "version": "15.0.0", "vulns": []}
HOLED = {"name": "pillow", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": []}]}


def report(*packages: dict) -> str:
    """What pip-audit writes, as a shell command."""
    return f"echo '{json.dumps({'dependencies': packages, 'fixes': []})}'"


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("echo 'requests.exceptions.ConnectionError: Max retries exceeded' >&2; exit 1", 3, "cannot be reached"),
        (report(SKIPPED), 3, "knows none of the packages"),
        (report(SKIPPED, HOLED) + "; exit 1", 1, "pillow 1.0: PYSEC-1, mended in 1.1"),
        (report(SKIPPED, SAFE), 0, "not checked: numpy\n"),
        (report(SAFE), 0, "1 packages checked, 0 to look at"),
        ("echo 'no such option' >&2; exit 2", 1, "no such option"),
    ],
)
def test_an_audit_says_what_it_looked_up(
    script: str, status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program in pip-audit's place, which answers as it does with, without and with half a database."""
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    assert audit.audit(str(program)) == status
    shown = capsys.readouterr()
    assert said in shown.out + shown.err


def test_shell_examples_are_shell() -> None:
    for script in sorted((ROOT / "examples").rglob("*.sbatch")):
        subprocess.run(["bash", "-n", str(script)], check=True)
