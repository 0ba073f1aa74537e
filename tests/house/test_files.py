"""Nobody ever sees half a file."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from limner.errors import InputError
from limner.files import atomic_write, make_folder, write_bytes_atomic, write_json_atomic


def test_writes_and_replaces(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "x.json"
    write_json_atomic(target, {"ü": [1, 2.5, None]})
    assert json.loads(target.read_text(encoding="utf-8")) == {"ü": [1, 2.5, None]}
    write_bytes_atomic(target, b"second")
    assert target.read_bytes() == b"second"
    assert [p.name for p in target.parent.iterdir()] == ["x.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "x.bin"
    target.write_bytes(b"old")
    with pytest.raises(error), atomic_write(target) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AssertionError), atomic_write(tmp_path / "x"):
        pass


def test_temporary_name_keeps_the_suffix_and_the_folder(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "picture.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path  # the same file system, or the rename would not be atomic
        temporary.write_bytes(b"")


def test_json_refuses_what_json_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json_atomic(tmp_path / "x.json", math.nan)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x.bin"
    target.write_bytes(b"old")
    code = (
        "import os, signal, sys; from limner.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as temporary:\n"
        "    temporary.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("write", [lambda path: write_bytes_atomic(path, b"new"), make_folder], ids=["file", "folder"])
def test_a_place_below_a_file_is_one_line(tmp_path: Path, write) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(InputError, match=r"cannot write .*: a file stands where a folder should be; give") as caught:
        write(tmp_path / "x" / "below" / "y")
    assert "\n" not in str(caught.value) and (tmp_path / "x").read_bytes() == b"old"


def test_a_name_that_a_folder_has_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(InputError, match="x: a folder has that name"):
        write_bytes_atomic(tmp_path / "x", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


FULL = {
    "bytes": "write_bytes_atomic(path, bytes(5000))",
    "tensors": "save_tensors(path, {'a': torch.zeros(5000)}, {})",
}


@pytest.mark.skipif(os.name != "posix", reason="a limit of a file's size is POSIX")
@pytest.mark.parametrize("write", FULL.values(), ids=FULL)
def test_a_write_that_the_system_cuts_short_is_one_line(tmp_path: Path, write: str) -> None:
    """A full disk, as far as a test can have one: no file may grow over 1000 bytes."""
    code = (
        "import resource, sys, torch; from limner.errors import InputError\n"
        "from limner.files import write_bytes_atomic; from limner.weights.tensors import save_tensors\n"
        "path = sys.argv[1]; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"try: {write}\nexcept InputError as error: print(error)"
    )
    target = tmp_path / "x.bin"
    ended = subprocess.run([sys.executable, "-c", code, str(target)], check=True, capture_output=True, text=True)
    assert ended.stdout == f"cannot write {target}: File too large; give another place\n"
    assert not list(tmp_path.iterdir())
