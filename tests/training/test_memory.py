"""espalier.training.memory: what is freed is used again."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from espalier.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
np.ones(2**24, np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    np.ones(2**24, np.float32)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Page faults of four blocks of 64 MiB after a first."""
    return int(subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_a_freed_block_is_used_again():
    pytest.importorskip("torch")
    assert faults("keep") < faults("give back") / 4
