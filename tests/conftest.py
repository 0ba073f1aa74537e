"""What every test stands on: one thread per worker, a store of its own, and no network but this machine."""

from __future__ import annotations

import os
import socket

# Before torch is imported anywhere: the suite runs one worker per core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(autouse=True)
def limner_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """LIMNER_HOME is an empty folder, and HF_TOKEN of whoever runs the tests stays out of them."""
    folder = tmp_path_factory.mktemp("limner-home")
    monkeypatch.setenv("LIMNER_HOME", str(folder))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return folder


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for the network fails, instead of passing here and failing elsewhere."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address) -> None:
        if self.family != getattr(socket, "AF_UNIX", None) and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
