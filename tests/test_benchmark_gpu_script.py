"""What a GPU machine runs, rehearsed without a GPU: every step on emulated kernels, and run.sh up to the driver."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tvm
from gpu import driver, kernel_steps, measure, network_kernels, network_steps, supervise, timing
from oracles import emulated
from oracles.doubling import export_doubling
from support import gpu_cases

from espalier.targets.gpu import gpu_of_arch

H100 = gpu_of_arch("sm_90a")
RUN = Path(measure.__file__).parent / "run.sh"


class Library(dict):
    """Emulated functions by name."""

    def __missing__(self, name: str):
        return emulated.function_of({one.name: one for one in gpu_cases.variants(H100)}[name])


def once(run, launches: int = 1) -> dict:
    """In the place of a time."""
    start = time.perf_counter()
    run()
    return {"median_s": (time.perf_counter() - start) / launches}


@pytest.fixture
def on_the_cpu(monkeypatch):
    """Tensors on this CPU; what a graph would replay runs once."""
    monkeypatch.setattr(timing, "DEVICE", "cpu")
    changes = {"COPIED": 1 << 10, "LAUNCHES": 2, "MOST_SETS": 2, "median_s": once}
    for name, value in {**changes, "graph_of": lambda run: SimpleNamespace(replay=run)}.items():
        monkeypatch.setattr(kernel_steps, name, value)
    monkeypatch.setattr(network_steps, "REPLAYS", 1)
    monkeypatch.setattr(network_steps, "median_s", once)
    monkeypatch.setattr(gpu_cases, "LAYERS", {"3x3": (64, 64, 4, 3, 1)})


@pytest.fixture
def kernels(on_the_cpu, monkeypatch, tmp_path):
    """Steps on emulated kernels; torch is stood in for."""
    gated = gpu_cases.conv_case("3x3", 1, 0.5, "int8", H100)
    dense = gpu_cases.conv_case("3x3", 1, 1.0, "float16", H100)
    stored = {
        "convolutions": [gated, {**dense, "schedules": dense["schedules"][:2]}],
        "bars": [gpu_cases.conv_case("3x3", 2, 0.5, "float16", H100, "bars")],
        "staircase": [gpu_cases.chosen_only({**dense, "part": "staircase"})],
        "gates": [gpu_cases.gate_case(2, 64, 4, H100)],
        "codebook": gpu_cases.codebook_case(64),
        "least": gpu_cases.codebook_case(32),
    }
    (tmp_path / "cases.json").write_text(json.dumps(stored))
    with monkeypatch.context() as patch:
        patch.setattr(kernel_steps.tvm.runtime, "load_module", lambda _: None)
        steps = kernel_steps.KernelSteps(tmp_path, timing.Record(tmp_path / "gpu.json", 900, {"sms": 132}), Peers)
    steps.library = Library()
    return steps


class Peers:
    """In the place of torch."""

    @staticmethod
    def facts() -> dict:
        return {"float16_macs_s": 1e9}

    @staticmethod
    def convolution(case: dict, count: int):
        assert count == 2
        yield "cuDNN", {"median_s": 1.0}

    @staticmethod
    def linear(size: int, count: int) -> dict:
        return {"median_s": 1.0}

    @staticmethod
    def network(name: str, batch: int, mode: str | None) -> dict:
        return {mode or "graph": {"median_s": 1.0}}


def test_every_step_on_single_kernels(kernels):
    record = kernels.record
    networks = network_steps.NetworkSteps(kernels.record.path.parent, record, None)
    steps = measure.steps_of(kernels, networks, {"checks": [], "networks": []})
    record.plan([one.group for one in steps])
    for number, step in enumerate(steps):
        assert measure.attempt(record, number, step)
    results = json.loads(record.path.read_text())
    assert results["facts"]["copy_bytes_s"] > 0
    assert results["facts"]["launch_s"] > 0
    assert results["begun"] == {"number": len(steps) - 1, "step": steps[-1].name, "group": "others", "limit_s": 60}
    assert not results["skipped"]
    assert [one for one in results["checks"] if not one["ok"]] == []
    assert len(results["checks"]) == 7  # three cases chosen, one of them in the staircase, too, one other, gate, packed
    parts = [one["part"] for one in results["kernels"]]
    assert sorted(parts) == ["bars", "gates", "gates", "layers", "layers", "layers", "packed", "staircase"]
    assert results["finished"] == results["planned"]
    assert [one.get("name") for one in results["torch"]] == ["dense"]


def test_torch_is_timed_on_the_same_layers_and_networks(kernels):
    first = {**kernels.cases["convolutions"][1], "batch": 32}
    kernels.cases["convolutions"][1] = first
    networks = network_steps.NetworkSteps(kernels.record.path.parent, kernels.record, Peers)
    entries = [{"name": f"net{density}", "network": "net", "batch": 32, "density": density} for density in (1, 0.5)]
    steps = measure.steps_of(kernels, networks, {"checks": [], "networks": entries})
    groups = [step.group for step in steps]
    assert groups.index("float16 layers") < groups.index("torch compiled") < groups.index("layers")
    for step in steps:
        if step.group.startswith("torch"):
            assert measure.attempt(kernels.record, 0, step)
    found = [(one.get("network") or one["name"], one["variant"]) for one in kernels.record.results["torch"]]
    compiled = [("net", "default"), ("net", "max-autotune-no-cudagraphs")]
    assert found == [("net", "graph"), ("3x3", "cuDNN"), *compiled]


def test_a_step_that_would_take_the_time_of_more_important_ones_is_not_begun(record):
    record.end = time.monotonic() + 50
    step = measure.Step("one", "torch", out_of_memory, needs_s=60)
    assert measure.attempt(record, 0, step)
    (skipped,) = record.results["skipped"]
    assert skipped["error"] == "50 s were left, it is begun with 60 or more"


def test_a_wrong_gate_and_a_wrong_packed_layer_are_seen(kernels, monkeypatch):
    def wrong(function, *arguments):
        function(*arguments)
        pi = next(one for one in arguments if isinstance(one, tvm.runtime.Tensor) and one.shape == (2, 64))
        pi.copyfrom(pi.numpy() * np.float32(1.01))

    name = kernels.cases["gates"][0]["function"]
    kernels.library[name] = partial(wrong, kernels.library[name])
    monkeypatch.setattr(kernel_steps, "codebook_reference", lambda *data: np.zeros(64, np.float32))
    kernels.gate(kernels.cases["gates"][0])
    kernels.packed_dense()
    assert [one["ok"] for one in kernels.record.results["checks"]] == [False, False]


def test_buffers_rotate_over_more_than_twice_the_l2_cache():
    assert kernel_steps.rotated(1 << 20) * (1 << 20) > 2 * H100.l2_bytes
    assert kernel_steps.rotated(1 << 30) == 2
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_steps, "graph_of", lambda run: SimpleNamespace(replay=run))
        patch.setattr(kernel_steps, "median_s", once)
        found = kernel_steps.rotating([partial(calls.append, number) for number in range(3)])
    assert (calls[:4], found["sets"]) == ([0, 1, 2, 0], 3)


@pytest.fixture
def networks(on_the_cpu, tmp_path):
    """A network that doubles its input."""
    export_doubling(tmp_path / "net.so")
    return network_steps.NetworkSteps(tmp_path, timing.Record(tmp_path / "gpu.json", 900, {"sms": 132}), None)


LAUNCH = {"layer": "l", "variant": "v", "grid": (1, 1, 1), "registers": 9, "macs": 6, "bytes": 9}
ENTRY = {
    "name": "net",
    "network": "net",
    "file": "net.so",
    "batch": 2,
    "density": 1,
    "weights": "float16",
    "seed": 1,
    "shape": [2, 3],
    "tolerance": 1e-3,
    "launches": [LAUNCH],
    "predictions": [{"predicted_s": 1e-6, "resident": 2, "waves": 1, "tail": 0.5}],
}


@pytest.mark.parametrize(("factor", "ok"), [(2, True), (2.01, False), (np.nan, False)])
def test_a_network_is_compared_and_timed(factor, ok, networks):
    expected = np.float32(factor) * np.random.default_rng(1).standard_normal((2, 3), np.float32)
    np.savez(networks.folder / "net.so.npz", y=expected[[1]], samples=[1])
    networks.network(ENTRY)
    (found,), (checked,) = networks.record.results["networks"], networks.record.results["checks"]
    assert (checked["ok"], checked["tolerance"]) == (ok, 1e-3)
    assert found["median_s"] > 0
    assert (found["error"] == 0) == ok


def test_a_network_stands_beside_its_predictions(networks, monkeypatch):
    node = driver.KernelNode("kernel", (3, 1, 1), 128, 0, 2)
    monkeypatch.setattr(network_kernels, "main_node", lambda library, launch: node)
    monkeypatch.setattr(network_kernels, "trace", lambda run: network_kernels.Trace([[2e-6]], 3e-6))
    networks.waves(ENTRY)
    networks.launches(ENTRY)
    (waves,), (traced,) = networks.record.results["waves"], networks.record.results["launches"]
    (one,) = waves["kernels"]
    assert (one["resident"], one["measured_resident"], one["measured_waves"]) == (2, 2, 1)
    assert one["measured_tail"] == pytest.approx(1 - 3 / 264)
    assert traced["kernels_s"] == 3e-6
    assert (traced["kernels"][0]["predicted_s"], traced["kernels"][0]["measured_s"]) == (1e-6, 2e-6)


@pytest.fixture
def record(tmp_path):
    return timing.Record(tmp_path / "gpu.json", 900, {})


def out_of_memory():
    raise RuntimeError("CUDA: out of memory")


def test_a_step_that_fails_is_recorded_and_the_next_goes_on(record, monkeypatch):
    monkeypatch.setattr(measure, "synchronize", lambda: None)
    assert measure.attempt(record, 0, measure.Step("one", "kernels", out_of_memory))
    assert json.loads(record.path.read_text())["skipped"] == [
        {"step": "one", "group": "kernels", "error": "RuntimeError: CUDA: out of memory"}
    ]
    monkeypatch.setattr(measure, "synchronize", out_of_memory)  # nothing runs any more
    assert not measure.attempt(record, 0, measure.Step("one", "kernels", out_of_memory))


def test_what_was_lost_is_not_tried_again_nor_all_that_is_like_it(record):
    lost = [{"step": f"case {number}", "group": "kernels"} for number in range(measure.MOST_LOST - 1)]
    record.results["lost"] = lost[:-1]
    nothing, fresh = (lambda: None), measure.Step("case 9", "kernels", out_of_memory)
    assert measure.left_out(record, measure.Step("case 0", "others", nothing)) == "what it launches was lost before"
    assert measure.left_out(record, fresh) is None
    record.results["lost"] = [*lost, {"step": "case 8", "group": "kernels"}]
    assert measure.left_out(record, fresh) == "4 steps of its kind were lost"
    assert measure.attempt(record, 0, fresh)
    assert [one["step"] for one in record.results["skipped"]] == ["case 9"]


WORKER = """
import os, sys, time
from pathlib import Path
from gpu.timing import Record
path, first = Path(sys.argv[1]), int(sys.argv[-1])
record = Record(path, 900, {} if first == 0 else None)
for number in range(first, 4):
    record.begin(number, f"step {number}", "kernels", 6)
    if number == 1: os.abort()
    if number == 2: time.sleep(900)
    record.add("checks", number)
os._exit(1)
"""
"""In the place of `measure`: of four steps one ends its process, and another one hangs."""


def test_a_step_that_ends_its_process_or_hangs_is_lost_and_no_other(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(RUN.parents[1]))
    path = tmp_path / "gpu.json"
    path.write_text("of an earlier run")
    assert supervise.supervise([sys.executable, "-c", WORKER, str(path)], path, 900) == 1
    results = json.loads(path.read_text())
    assert results["checks"] == [0, 3]
    assert [(one["step"], one["error"]) for one in results["lost"]] == [
        ("step 1", "ended the process (-6)"),
        ("step 2", "took more than 6 s"),
    ]
    assert capsys.readouterr().out.splitlines() == ["step 1: ended the process (-6)", "step 2: took more than 6 s"]


def test_a_process_that_never_comes_to_a_step_is_not_started_again(tmp_path, capsys):
    assert supervise.supervise([sys.executable, "-c", "import os; os.abort()"], tmp_path / "gpu.json", 900) == 3
    assert capsys.readouterr().out == "the start: ended the process (-6)\n"


def test_clocks_are_those_of_nvidia_smi(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho '1980, 2619, 41, 300.5, 0x4'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert measure.clocks() == {
        "clocks.sm": "1980",
        "clocks.mem": "2619",
        "temperature.gpu": "41",
        "power.draw": "300.5",
        "clocks_throttle_reasons.active": "0x4",
    }
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert measure.clocks() is None


@pytest.fixture
def _with_a_driver(monkeypatch):
    monkeypatch.setattr(driver, "version", lambda: (13, 0))
    monkeypatch.setattr(measure, "load_cuda_runtime", lambda: None)


@pytest.mark.usefixtures("_with_a_driver")
@pytest.mark.parametrize(
    ("version", "message"), [((12, 4), "NVIDIA's driver is for CUDA 12.4, the bundle needs one for 13.0"),
                             ((13, 1), "NVIDIA's driver is here and shows no GPU")],
)  # fmt: skip
def test_what_cannot_run_is_one_line(version, message, monkeypatch):
    monkeypatch.setattr(driver, "version", lambda: version)
    monkeypatch.setattr(measure.tvm.runtime, "device", lambda _: SimpleNamespace(exist=False))
    with pytest.raises(SystemExit, match=message):
        measure.device_facts({"arch": "sm_90a", "cuda": [13, 0]})


@pytest.mark.usefixtures("_with_a_driver")
def test_another_gpu_is_named(monkeypatch):
    present = SimpleNamespace(exist=True, compute_version="8.0", device_name="A100")
    monkeypatch.setattr(measure.tvm.runtime, "device", lambda _: present)
    with pytest.raises(SystemExit, match="the bundle is for sm_90a, A100 is 8.0: prepare_gpu.py --arch makes another"):
        measure.device_facts({"arch": "sm_90a", "cuda": [13, 0]})


@pytest.mark.usefixtures("_with_a_driver")
def test_a_runtime_that_cannot_be_loaded_says_what_it_misses(monkeypatch):
    def missing():
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(measure, "load_cuda_runtime", missing)
    with pytest.raises(SystemExit, match="TVM's runtime for CUDA cannot be loaded: libcudart.so.13"):
        measure.device_facts({"arch": "sm_90a", "cuda": [13, 0]})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle with next to nothing in it."""
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "python").write_text("2.7\n")
    with tarfile.open(folder / "bundle.tar.xz", "w:xz") as archive:
        archive.add(folder / "python", "python")
    return folder / "bundle.tar.xz"


def run(*arguments, **environment) -> str:
    """The one line with which run.sh gives up."""
    variables = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, **environment}
    done = subprocess.run(["bash", str(RUN), *map(str, arguments)], capture_output=True, text=True, env=variables)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line.removeprefix("run.sh: ")


def test_run_names_what_is_missing(bundle, tmp_path):
    assert run(tmp_path / "none").startswith("no bundle at ")
    assert run(bundle, tmp_path, "soon") == "SECONDS is soon, accepted is a whole number"
    assert run(bundle, tmp_path, 1, 2).startswith("got 4 arguments")
    assert run(bundle, PYTHON="python2.6").startswith("no python2.6 here")


@pytest.mark.skipif(tvm.cuda(0).exist, reason="this machine has a GPU")
def test_run_without_a_driver_says_so(bundle):
    assert run(bundle) == "NVIDIA's driver was not found (libcuda.so.1): this runs on a machine with a GPU"


def test_run_wants_the_python_of_the_bundle(bundle, tmp_path):
    subprocess.run(["g++", "-shared", "-x", "c++", "/dev/null", "-o", tmp_path / "libcuda.so.1"], check=True)
    broken = tmp_path / "broken.tar.xz"
    broken.write_bytes(b"nothing")
    assert run(bundle, LD_LIBRARY_PATH=str(tmp_path)).startswith("the bundle is for Python 2.7: PYTHON=python2.7")
    assert run(broken, LD_LIBRARY_PATH=str(tmp_path)).endswith("broken.tar.xz cannot be unpacked")


SUPERVISE = """
import json, pathlib, sys
record = {"facts": {"device": "some GPU", "date": "today"}, "kernels": [], "skipped": [{"step": "all", "error": "why"}]}
pathlib.Path(sys.argv[2]).write_text(json.dumps(record))
sys.exit(1)
"""
"""In the place of the module of that name, which comes from the bundle here."""


def test_run_prints_the_table_last_and_keeps_the_status(tmp_path):
    subprocess.run(["g++", "-shared", "-x", "c++", "/dev/null", "-o", tmp_path / "libcuda.so.1"], check=True)
    (tmp_path / "python").write_text("{}.{}\n".format(*sys.version_info))
    (tmp_path / "site" / "gpu").mkdir(parents=True)
    (tmp_path / "site" / "gpu" / "supervise.py").write_text(SUPERVISE)
    with tarfile.open(tmp_path / "bundle.tar.xz", "w:xz") as archive:
        for name in ("python", "site"):
            archive.add(tmp_path / name, name)
    variables = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "LD_LIBRARY_PATH": str(tmp_path)}
    command = ["bash", RUN, tmp_path / "bundle.tar.xz", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[0] == "some GPU, today, torch not there"
    assert done.stdout.splitlines()[-2:] == ["1 steps skipped", "  all: why"]
