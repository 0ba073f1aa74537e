"""A tiny random UniF²ace and photographs to show it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from limner.models.unif2ace.engine import UniF2ace
from unif2ace.parts import portraits, save, write_tiny


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("unif2ace"))


@pytest.fixture(scope="session")
def engine(folder: Path) -> UniF2ace:
    return UniF2ace.load(folder, precision="fp32")


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One face."""
    return save(tmp_path_factory.mktemp("photo") / "one.png", portraits()[1])


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two faces, side by side."""
    return save(tmp_path_factory.mktemp("pair") / "two.png", np.concatenate(portraits()[1:3], 1))
