"""What travels to a GPU machine: TVM without its compiler, in a process that sees no other TVM, and tolerances."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import prepare_gpu
import pytest
from gpu import measure
from oracles.doubling import export_doubling
from prepare_gpu import SLIM, WHEELS, copy_tvm

from espalier.core.plan import Plan

SCRIPT = """
import sys
site, folder, benchmarks = sys.argv[1:]
sys.path[:0] = [site, benchmarks]
import numpy as np
import tvm
from gpu import measure, network_steps
assert tvm.__file__.startswith(site), tvm.__file__
assert measure.torch is None
steps = network_steps.NetworkSteps(measure.Path(folder), None, None)
print(steps._machine("net.so", "cpu")(np.full((2, 3), 4, np.float32)).numpy().tolist())
try:
    tvm.compile(tvm.IRModule(), "llvm")
except Exception as error:
    print("cannot compile:", type(error).__name__)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """What a bundle has: TVM as it is copied, and this Python's packages in the place of downloaded wheels."""
    site = tmp_path_factory.mktemp("bundle") / "site"
    copy_tvm(site)
    for wheel in WHEELS:
        for top in {one.parts[0] for one in metadata.files(wheel)} - {"..", "__pycache__"}:
            (site / top).symlink_to(metadata.distribution(wheel).locate_file(top))
    return site


def test_it_has_no_compiler(site):
    assert not [one for pattern in SLIM for one in (site / "tvm").rglob(pattern)]
    assert list((site / "tvm" / "lib").glob("libcudart.so.*"))
    assert (site / "tvm" / "lib" / "libtvm_runtime_cuda.so").exists()


def test_it_runs_a_library_where_nothing_else_is_installed(site, tmp_path):
    export_doubling(tmp_path / "net.so")
    command = [sys.executable, "-I", "-S", "-c", SCRIPT, site, tmp_path, Path(measure.__file__).parents[1]]
    done = subprocess.run(command, capture_output=True, text=True, env={"TVM_DEVICE_BACKEND_AUTOLOAD": "0"})
    lines = done.stdout.splitlines()
    assert lines[:1] == [str(np.full((2, 3), 8.0).tolist())], done.stderr
    assert lines[1].startswith("cannot compile: ")


@pytest.mark.parametrize(
    ("plan", "reference", "tolerance"),
    [
        (Plan(weights="float16"), lambda x: x, prepare_gpu.LEAST_TOLERANCE),
        (Plan(weights="float16"), lambda x: np.sin(25 * x), 2 * 25 * 4 / 2**11 / 3**0.5),
        (Plan(weights="float16"), lambda x: np.sin(1e6 * x), prepare_gpu.MOST_TOLERANCE),
        (Plan(weights="uniform<8>", activations="uniform<8>"), lambda x: x, 0),
    ],
)
def test_a_network_may_be_as_far_off_as_noise_moves_its_reference(plan, reference, tolerance, monkeypatch):
    monkeypatch.setattr(prepare_gpu, "NETWORKS", {"net": ("net", 1, plan)})
    monkeypatch.setattr(prepare_gpu, "reference_of", lambda name: (None, reference))
    for cached in (prepare_gpu.answer_of, prepare_gpu.network_tolerance):
        cached.cache_clear()
    assert prepare_gpu.network_tolerance("net", 1) == pytest.approx(tolerance, rel=0.05)
