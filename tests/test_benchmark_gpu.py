"""What runs on a GPU machine, tried here on emulated kernels: it agrees with numpy, and sees a wrong kernel."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from gpu import driver, network_kernels, operands, timing
from gpu.report import LONG_S
from oracles import emulated
from support import gpu_cases

from espalier.codegen.cuda.kernels.conv2d import TILES
from espalier.targets.gpu import gpu_of_arch

H100 = gpu_of_arch("sm_90a")
LAYERS = {"3x3": (64, 64, 6, 3, 1), "1x1 stride 2": (64, 128, 5, 1, 2)}


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch):
    monkeypatch.setattr(timing, "DEVICE", "cpu")
    monkeypatch.setattr(gpu_cases, "LAYERS", {**gpu_cases.LAYERS, **LAYERS})


def library(change=lambda y: None) -> dict:
    """The kernels by name; `change` is done to the last tensor of each call, which is the output without splits."""

    def function(variant):
        def run(*arguments):
            emulated.function_of(variant)(*arguments)
            change(arguments[-1])

        return run

    variants = [tile.variant(number_format) for tile in TILES for number_format in ("float16", "int8")]
    return {variant.name: function(variant) for variant in variants}


@pytest.mark.parametrize("number_format", ["float16", "int8"])
@pytest.mark.parametrize("density", [1.0, 0.5])
@pytest.mark.parametrize("name", LAYERS)
def test_kernels_agree_with_numpy(name, density, number_format):
    case = gpu_cases.conv_case(name, 2, density, number_format, H100)
    found = operands.check(library(), case, case["schedules"][0], operands.sample_of(case, np.random.default_rng(0)))
    assert found["ok"], found


@pytest.mark.parametrize("density", [1.0, 0.5])
def test_bytes_rescaled_in_64_bits_agree_with_numpy(density, monkeypatch):
    monkeypatch.setattr(gpu_cases, "WIDE", {"wide": LAYERS["3x3"]})
    case = gpu_cases.conv_case("wide", 2, density, "int8", H100)
    sample = operands.sample_of(case, np.random.default_rng(0))
    assert sample.made["factor"].dtype == np.int32
    assert operands.check(library(), case, case["schedules"][0], sample)["ok"]


def test_a_wrong_kernel_is_seen():
    case = gpu_cases.conv_case("3x3", 1, 1.0, "float16", H100)
    schedule = next(one for one in case["schedules"] if one["splits"] == 1)
    sample = operands.sample_of(case, np.random.default_rng(0))
    wrong = library(lambda y: y.copyfrom(y.numpy() * np.float16(1.02)))
    assert not operands.check(wrong, case, schedule, sample)["ok"]


def test_a_kernel_that_writes_what_no_list_names_is_seen():
    case = gpu_cases.conv_case("3x3", 1, 0.5, "float16", H100)
    schedule = next(one for one in case["schedules"] if one["splits"] == 1)
    sample = operands.sample_of(case, np.random.default_rng(0))

    def overwrite(y):
        rest = np.where(np.isnan(y.numpy()), np.float16(0), y.numpy())
        y.copyfrom(rest)

    assert operands.check(library(), case, schedule, sample)["ok"]
    assert not operands.check(library(overwrite), case, schedule, sample)["ok"]


def test_measured_kernels_stand_beside_their_predictions():
    launch = {"layer": "conv", "variant": "v", "grid": (1, 1, 1), "registers": 9, "macs": 600, "bytes": 90}
    launches, predictions = [launch, {**launch, "layer": "fc"}], [{"waves": 1}, {"waves": 2}]
    rows = network_kernels.matched(launches, predictions, [[1.0, 4.0], [3.0, 5.0], [2.0, 9.0]])
    assert [(one["layer"], one["waves"], one["measured_s"]) for one in rows] == [("conv", 1, 2.0), ("fc", 2, 5.0)]
    assert rows[0]["macs_s"] == 300
    rows = network_kernels.matched(launches, predictions, [[1.0], [3.0], [2.0]])  # a kernel is missing
    assert [one["measured_s"] for one in rows] == [None, None]


def test_a_trace_is_divided_into_runs_and_holds_all_that_ran():
    names = ("void espalier::conv2d<espalier::Half>", "fused_transpose_kernel", "espalier::dense_codebook")
    events = [(name, 10.0 * run + at, at + run) for run in range(5) for at, name in enumerate(names)]
    found = network_kernels.trace_of(events[::-1])
    assert found.ours == [[run, run + 2] for run in range(5)]
    assert found.kernels_s == sum(seconds for *_, seconds in events) / 5


class Driver:
    """NVIDIA's driver as far as it captures: two kernels and a copy."""

    def __init__(self):
        self.alive = 0

    def __getattr__(self, name: str):
        return lambda *_: 0

    def cuStreamCreate(self, stream, flags):
        stream._obj.value, self.alive = 7, self.alive + 1
        return 0

    def cuStreamDestroy_v2(self, stream):
        self.alive -= 1

    def cuStreamEndCapture(self, stream, graph):
        graph._obj.value, self.alive = 9, self.alive + 1
        return 0

    def cuGraphDestroy(self, graph):
        self.alive -= 1

    def cuGraphGetNodes(self, graph, nodes, count):
        if nodes is None:
            count._obj.value = 3
        else:
            nodes[:] = [1, 2, 3]
        return 0

    def cuGraphNodeGetType(self, node, kind):
        kind._obj.value = int(node.value == 3)
        return 0

    def cuGraphKernelNodeGetParams_v2(self, node, found):
        one = found._obj
        one.grid[:], one.block[:], one.shared_bytes = [node.value, 2, 1], [32, 4, 1], 100
        one.function, one.kernel = (node.value, None) if node.value == 1 else (None, node.value)
        return 0

    def cuFuncGetName(self, name, kernel):
        name._obj.value = b"_ZN8espalier6conv2dIfEEvv"
        return 0

    def cuKernelGetName(self, name, kernel):
        name._obj.value = b"_ZN8espalier14finish_restingIfEEvv"
        return 0

    def cuOccupancyMaxActiveBlocksPerMultiprocessor(self, resident, kernel, threads, shared):
        assert (threads.value, shared.value) == (128, 100)
        resident._obj.value = 10 + kernel.value
        return 0


def test_what_a_call_would_launch_is_known_without_running_it(monkeypatch):
    fake, called = Driver(), []
    monkeypatch.setattr(driver, "library", lambda: fake)
    nodes = timing.kernel_nodes(lambda: called.append("now"))
    assert [(one.grid, one.threads, one.shared_bytes, one.resident) for one in nodes] == [
        ((1, 2, 1), 128, 100, 11),
        ((2, 2, 1), 128, 100, 12),
    ]
    assert called == ["now"]
    assert fake.alive == 0
    function = SimpleNamespace(get_function=lambda name, query_imports: called.append)
    launch = {"variant": "v", "numbers": [5], "tensors": []}
    assert network_kernels.main_node(function, launch).resident == 11
    assert called == ["now", 5]


def test_a_capture_that_fails_leaves_nothing_behind(monkeypatch):
    fake = Driver()
    monkeypatch.setattr(driver, "library", lambda: fake)

    def fails(stream: int) -> None:
        raise RuntimeError("no such kernel")

    with pytest.raises(RuntimeError, match="no such kernel"):
        driver.kernel_nodes(fails)
    fake.cuStreamEndCapture = lambda stream, graph: 901
    with pytest.raises(RuntimeError, match="cuStreamEndCapture: error 901"):
        driver.kernel_nodes(lambda stream: None)
    assert fake.alive == 0


def test_main_kernels_are_told_from_others():
    found = network_kernels.OURS.search
    assert found("void espalier::conv2d<espalier::Half, espalier::Tile<64, 64, 2, 2, 4> >(espalier::Convolution)")
    assert found("espalier::dense_codebook(espalier::DenseCodebook)")
    assert not found("void espalier::finish_resting<espalier::Epilogue>(espalier::Epilogue, long)")


def test_long_layers_are_as_long_as_their_bar_wants():
    for case in map(gpu_cases.chosen_only, gpu_cases.bar_cases(H100)):
        if case["density"] == 1:
            peak, moved = case["macs"] / H100.peak_macs_s("float16"), case["bytes"] / H100.bandwidth_bytes_s
            assert max(peak, moved) > LONG_S
        assert (case["part"], len(case["schedules"])) == ("bars", 1)
    stairs = gpu_cases.stair_cases(H100)
    assert [one["y"][3] for one in stairs] == list(range(64, 1025, 64))


def test_samples_of_a_large_batch_come_again_with_lists_of_their_own():
    case = gpu_cases.conv_case("3x3", 64, 0.5, "float16", H100)
    made = operands.operands(case, np.random.default_rng(0))
    np.testing.assert_array_equal(made["x"][:32], made["x"][32:])
    assert len(np.unique(made["winners"], axis=0)) > 1
    assert not np.array_equal(made["winners"][:32], made["winners"][32:])
