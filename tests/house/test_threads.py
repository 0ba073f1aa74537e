"""Threads are chosen by what is free, and never against what the user said."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from limner import threads


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Function: let the system say that so many threads want to run, on so many cores."""

    def set_to(count: int, cores: int) -> None:
        (tmp_path / "loadavg").write_text(f"0.10 0.20 0.30 {count}/400 1234\n")
        monkeypatch.setattr(threads, "LOADAVG", tmp_path / "loadavg")
        monkeypatch.setattr(threads, "usable_cores", lambda: cores)
        monkeypatch.setattr(os, "cpu_count", lambda: cores)

    return set_to


def test_an_idle_machine_is_left_alone(running) -> None:
    running(1, 2)  # this thread alone
    environment: dict[str, str] = {}
    assert threads.choose_threads(environment) is None and environment == {}


@pytest.mark.parametrize(("count", "cores", "chosen"), [(3, 2, 1), (2, 2, 1), (3, 8, 6), (9, 8, 1), (40, 8, 1)])
def test_free_cores_are_used(running, count: int, cores: int, chosen: int) -> None:
    running(count, cores)
    environment: dict[str, str] = {}
    assert threads.choose_threads(environment) == chosen
    assert environment == {"OMP_NUM_THREADS": str(chosen), "OMP_WAIT_POLICY": "PASSIVE"}


def test_what_the_user_said_stays(running) -> None:
    running(9, 2)
    said = {"OMP_NUM_THREADS": "2"}
    assert threads.choose_threads(said) is None and said == {"OMP_NUM_THREADS": "2"}
    policy = {"OMP_WAIT_POLICY": "ACTIVE"}
    threads.choose_threads(policy)
    assert policy["OMP_WAIT_POLICY"] == "ACTIVE"


def test_a_server_keeps_its_threads_and_learns_to_sleep(running) -> None:
    running(9, 2)
    environment: dict[str, str] = {}
    assert threads.choose_threads(environment, lasting=True) is None
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.skipif(not threads.LOADAVG.exists(), reason="this system has no /proc/loadavg")
def test_real_busy_loops_are_counted() -> None:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        time.sleep(0.5)
        assert threads.busy_cores() >= 1.5
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def test_other_libraries_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads.pool_size(2) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert threads.pool_size(2) == 2
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads.pool_size(2) == min(2, threads.usable_cores())
