"""Freed memory is kept for the next allocation."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from visionsweep.runtime.allocation import keep_freed_memory

print(keep_freed_memory())
np.ones(8_000_000)  # 64 MB, which glibc maps from the kernel by default
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(malloc: str) -> tuple[str, int]:
    """Return whether the allocator was changed, and the page faults of ten large arrays."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | {"VISIONSWEEP_MALLOC": malloc},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    changed, faults = done.stdout.split()
    return changed, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_large_blocks_are_reused_without_page_faults():
    changed, faults = run("")
    assert changed == "True"
    assert faults < 1000  # ten blocks of 64 MB have 156,250 pages of 4 KiB


def test_the_environment_variable_leaves_the_allocator_unchanged():
    assert run("default")[0] == "False"
