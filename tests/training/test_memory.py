"""Freed memory stays with the process that asked for that."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import numpy as np
from limner.training.memory import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()

def steps():
    for _ in range(4):
        blocks = [np.ones(1 << 20) for _ in range(4)]

steps()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
steps()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be told")
def test_a_step_that_comes_again_asks_the_system_for_no_page() -> None:
    faults = {
        way: int(subprocess.run([sys.executable, "-c", STEPS, way], capture_output=True, check=True).stdout)
        for way in ("kept", "given back")
    }
    assert faults["kept"] < 200 < 2_000 < faults["given back"], faults
