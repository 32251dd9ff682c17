"""Any module may be the first one that is imported; TVM, which loads parts of the package itself, comes with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

FIRST = ("espalier.codegen.cpu.spaces", "espalier.measure.local", "espalier.tuning.latency_predictor")


@pytest.mark.parametrize("module", FIRST)
def test_a_module_that_is_imported_first(module):
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", f"import {module}"], check=True)
