"""From a network to an accelerator: the models say what the host's program and the emitted C++ compute."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
import tvm  # noqa: F401 - before what it loads by itself
from hls_projects import needs_headers
from models import ModelBuilder, depthwise_net, plain_net, residual_net
from oracles import stream_graphs
from rtl_projects import gives, needs_icarus

import espalier
from espalier.codegen.fpga_hls.cost.cycles import interval_cycles
from espalier.codegen.fpga_hls.folding import _Folder as Folder
from espalier.codegen.fpga_hls.program import sums
from espalier.codegen.fpga_hls.stages import Folding
from espalier.codegen.fpga_hls.timing import latency_cycles
from espalier.core.errors import (
    CorruptArtifactError,
    InfeasibleDesignError,
    InvalidInputError,
    InvalidPlanError,
    ToolNotFoundError,
    UnsupportedOpError,
    UnsupportedTargetError,
)
from espalier.core.files import write_files
from espalier.measure.fpga.hls_simulation import EmulationError, build_hls, headers_folder
from espalier.measure.fpga.rtl_simulation import build_icarus

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((1, 3, 8, 8)).astype(np.float32)
MANY = RANDOM.standard_normal((16, 3, 8, 8)).astype(np.float32)
BOARD = "fpga_hls/pynq-z2"
BYTES = espalier.Plan(weights="uniform<8>")
GATED = espalier.Plan(weights="uniform<8>", density=0.5, granularity=4)


def built(model: onnx.ModelProto, plan=BYTES, target=BOARD, inputs=None):
    """The artifact of a float model under a plan, calibrated on random inputs."""
    mod = espalier.from_onnx(model)
    shape = tuple(int(size) for size in mod["main"].params[0].ty.shape)
    inputs = RANDOM.standard_normal((16, *shape[1:])).astype(np.float32) if inputs is None else inputs
    return espalier.build(mod, target, plan, espalier.calibrate(mod, inputs, plan))


@pytest.fixture(scope="module")
def residual():
    return built(residual_net())


@pytest.fixture(scope="module")
def folder(residual, tmp_path_factory):
    path = tmp_path_factory.mktemp("accelerator") / "out"
    residual.save(path)
    return path


@pytest.mark.parametrize("make", [plain_net, residual_net, depthwise_net])
def test_a_graph_computes_what_the_host_does(make):
    artifact = built(make())
    given, expected = artifact.program.vectors([X])
    assert np.array_equal(stream_graphs.meaning(artifact.program.graph, given[None])[0], expected)
    assert len(np.unique(expected)) > 3


def last_layer(b: ModelBuilder, dense: bool) -> str:
    y = b.relu(b.conv("x", "conv0", 3, 8))
    return b.head(y, "fc", 8, 4) if dense else b.conv(y, "conv1", 8, 4)


@needs_headers
@pytest.mark.parametrize("dense", [False, True])
def test_a_relu_behind_the_last_layer_limits_its_sums(dense, tmp_path):
    b = ModelBuilder()
    net = b.model([1, 3, 8, 8], b.relu(last_layer(b, dense)))
    artifact = built(net, inputs=MANY)
    program = artifact.program
    assert program.graph.convolutions()[-1].is_rectified
    given, expected = program.vectors([X])
    assert np.array_equal(stream_graphs.meaning(program.graph, given[None])[0], expected)
    assert expected.min() == 0 < expected.max()
    assert np.array_equal(artifact(X).ravel() > 0, expected.transpose(2, 0, 1).ravel() > 0)
    artifact.save(tmp_path / "out")
    loaded = espalier.load(tmp_path / "out").program
    assert loaded.digest() == program.digest()
    assert build_hls(tmp_path / "out" / "hls", tmp_path / "build").run(*vectors(loaded)).wrong == 0


@needs_headers
@pytest.mark.parametrize(
    "only",
    [
        lambda b: b.conv("x", "conv0", 3, 4),
        lambda b: b.relu(b.conv("x", "conv0", 3, 4)),
        lambda b: b.node("Gemm", b.node("Flatten", "x"), b.weight("fc.weight", 192, 5)),
    ],
)
def test_a_network_of_one_layer(only, tmp_path):
    """What comes into it and what its layer reads are one variable."""
    b = ModelBuilder()
    mod = espalier.from_onnx(b.model([1, 3, 8, 8], only(b)))
    calibration = espalier.calibrate(mod, MANY, BYTES)
    artifact = espalier.build(mod, BOARD, BYTES, calibration)
    expected = espalier.build(mod, "llvm", BYTES, calibration)(X)
    artifact.save(tmp_path / "out")
    for one in (artifact, espalier.load(tmp_path / "out")):
        assert np.array_equal(one(X), expected)
    assert artifact.profile(X, simulate="hls").simulated == "hls"


@pytest.mark.parametrize(
    "behind",
    [
        lambda b, y: b.node("Softmax", y, axis=1),
        lambda b, y: b.node("Clip", y, b.weight("low", low=0, high=0), b.weight("high", low=0.1)),
        lambda b, y: b.node("Flatten", y),
        lambda b, y: b.node("Mul", y, b.relu(y)),
    ],
)
def test_real_numbers_behind_the_last_layer_are_the_hosts(behind):
    b = ModelBuilder()
    mod = espalier.from_onnx(b.model([1, 3, 8, 8], behind(b, last_layer(b, dense=False))))
    calibration = espalier.calibrate(mod, MANY, BYTES)
    artifact = espalier.build(mod, BOARD, BYTES, calibration)
    assert artifact.program.graph.output.bits == 32
    assert not artifact.program.graph.convolutions()[-1].is_rectified
    assert np.array_equal(artifact(X), espalier.build(mod, "llvm", BYTES, calibration)(X))
    given, expected = artifact.program.vectors([X])
    assert np.array_equal(stream_graphs.meaning(artifact.program.graph, given[None])[0], expected)


def test_several_outputs_and_sorting_are_the_hosts(tmp_path):
    """Of one stream: the classes' numbers, the best two and their places."""
    b = ModelBuilder()
    y = b.head(b.relu(b.conv("x", "conv0", 3, 8)), "fc", 8, 5)
    b.weights["two"] = np.array([2], np.int64)
    b.nodes.append(onnx.helper.make_node("TopK", [y, "two"], ["best", "places"], axis=1))
    model = b.model([1, 3, 8, 8], y, "best", "places")
    model.graph.output[2].type.tensor_type.elem_type = onnx.TensorProto.INT64
    mod = espalier.from_onnx(model)
    calibration = espalier.calibrate(mod, MANY, BYTES)
    artifact = espalier.build(mod, BOARD, BYTES, calibration)
    artifact.save(tmp_path / "out")
    expected = espalier.build(mod, "llvm", BYTES, calibration)(X)
    for ours in (artifact(X), espalier.load(tmp_path / "out")(X)):
        for one, other in zip(ours, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_host_gives_what_a_cpu_artifact_gives(residual):
    mod = espalier.from_onnx(residual_net())
    calibration = espalier.calibrate(mod, MANY, BYTES)
    on_cpu = espalier.build(mod, "llvm", BYTES, calibration)
    assert np.array_equal(espalier.build(mod, BOARD, BYTES, calibration)(X), on_cpu(X))


@pytest.mark.parametrize("weights", ["shift<4>", "binary", "focused<5>", "uniform<4>", "codebook<4>"])
def test_the_weights_format_decides_the_products(weights):
    """Where LUTs do not lack: then levels may be multiplied in DSP blocks."""
    slow = {"kind": "ext_dev", "device": "pynq-z2", "feature.frames_per_s": 1000}
    program = built(plain_net(), espalier.Plan(weights=weights), slow).program
    kinds = {stage.products.kind for stage in program.graph.convolutions()}
    accepted = {"shift<4>": {"shift"}, "binary": {"binary"}, "focused<5>": {"shift", "focused"}}
    assert kinds <= accepted.get(weights, {"dsp", "lut"})
    given, expected = program.vectors([X])
    assert np.array_equal(stream_graphs.meaning(program.graph, given[None])[0], expected)


@needs_headers
@pytest.mark.parametrize("weights", ["shift<4>", "binary", "focused<5>", "uniform<4>", "codebook<4>"])
def test_the_cpp_of_every_weights_format_is_the_integer_network(weights, tmp_path):
    program = built(plain_net(), espalier.Plan(weights=weights)).program
    write_files(tmp_path, program.projects())
    assert build_hls(tmp_path / "hls", tmp_path / "build").run(*vectors(program)).wrong == 0


@needs_headers
def test_a_simulation_of_the_cpp_is_a_profile(residual):
    measured = residual.profile(X, simulate="hls")
    assert (measured.simulated, measured.interval_cycles, measured.estimated_power_w) == ("hls", None, None)
    assert measured.predicted_interval_cycles == residual.program.schedule.interval_cycles


@needs_headers
def test_cpp_that_differs_from_the_host_is_not_a_profile(tmp_path):
    """The graph of another calibration has another arithmetic."""
    one, other = built(plain_net(), inputs=MANY), built(plain_net(), inputs=3 * MANY)
    mixed = dataclasses.replace(one, program=dataclasses.replace(one.program, graph=other.program.graph))
    with pytest.raises(EmulationError, match=r"HLS C\+\+: \d+ of \d+ numbers differ from the integer body"):
        mixed.profile(X, simulate="hls", folder=tmp_path)


def test_an_artifact_comes_back_from_its_folder(residual, folder):
    loaded = espalier.load(folder)
    assert np.array_equal(loaded(X), residual(X))
    assert loaded.program.digest() == residual.program.digest()
    assert loaded.program.graph.edges == residual.program.graph.edges
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert {"hls/src/accelerator.cpp", "hls/tcl/csynth.tcl", "hls/vectors/input.bin", "rtl/accelerator.sv"} <= files


@pytest.mark.parametrize("name", ["rtl/accelerator.sv", "hls/src/window.h", "graph.npz"])
def test_a_half_written_folder_is_refused(residual, tmp_path, name):
    residual.save(tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    with pytest.raises(CorruptArtifactError, match=name):
        espalier.load(tmp_path / "out")


def test_a_damaged_graph_is_refused(folder):
    from espalier.codegen.fpga_hls.saved_graph import from_text

    data = json.loads((folder / "graph.json").read_text())
    with np.load(folder / "graph.npz") as arrays:
        for broken in ({**data, "version": 0}, {**data, "edges": data["edges"][1:]}, {"version": 1}):
            with pytest.raises(CorruptArtifactError, match="stream graph"):
                from_text(json.dumps(broken), dict(arrays))


def test_emission_is_pure(tmp_path):
    """From the same network and images, in another process with other hashes of strings."""
    onnx.save(plain_net(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", MANY)
    script = """
import sys, numpy, espalier
mod, plan = espalier.from_onnx(sys.argv[1] + "/net.onnx"), espalier.Plan(weights="uniform<8>")
calibration = espalier.calibrate(mod, numpy.load(sys.argv[1] + "/x.npy"), plan)
print(espalier.build(mod, "fpga_hls/pynq-z2", plan, calibration).program.digest())
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    here = os.environ.get("PYTHONHASHSEED", "random")
    environment = {**os.environ, "PYTHONHASHSEED": "2" if here == "1" else "1"}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.split() == [built(plain_net(), inputs=MANY).program.digest()]


@needs_headers
def test_the_emitted_cpp_is_exact(folder, residual, tmp_path):
    """With types of exact width; a wrong bit is seen."""
    given, expected = vectors(residual.program)
    bench = build_hls(folder / "hls", tmp_path / "build")
    found = bench.run(given, expected)
    assert found.wrong == 0
    assert np.array_equal(found.outputs, expected)
    expected[0, 0, 0, 0] ^= 1
    assert bench.run(given, expected).wrong == 1


def vectors(program, shape=X.shape):
    """Of two random images: what goes into the accelerator, and what the integer network says comes out."""
    images = [program.vectors([RANDOM.standard_normal(shape).astype(np.float32)]) for _ in range(2)]
    return (np.stack(one) for one in zip(*images))


def test_a_missing_tool_is_named_with_its_install_command(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolNotFoundError, match=r"g\+\+ is not installed; get it by: apt-get install g\+\+"):
        build_hls(folder / "hls", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolNotFoundError, match="ap_int.h is not installed; get it by: pip install --no-deps hls4ml"):
        headers_folder()


def test_a_folder_without_a_project_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="got no accelerator.cpp, accepted is an emitted HLS project"):
        build_hls(tmp_path, tmp_path / "build")


def test_sums_are_those_of_the_oracle():
    graph = stream_graphs.every_kind()
    last = graph.convolutions()[-1]
    x = RANDOM.integers(0, 256, (1, *last.in_shape)).astype(np.uint8)
    alone = dataclasses.replace(last, folding=Folding())
    assert np.array_equal(sums(alone, x[0]), stream_graphs._stage(alone, x)[0])


def test_a_profile_without_a_simulation_predicts(residual):
    measured = residual.profile(X)
    program = residual.program
    assert (measured.simulated, measured.interval_cycles, measured.latency_cycles) == ("none", None, None)
    assert measured.predicted_interval_cycles == program.schedule.interval_cycles
    assert measured.predicted_interval_cycles == max(stage.interval_cycles for stage in measured.stages)
    assert measured.predicted_latency_cycles == latency_cycles(program.graph) > program.schedule.interval_cycles
    stages = {stage.name: interval_cycles(stage) for stage in program.graph.stages}
    assert {stage.name: stage.interval_cycles for stage in measured.stages} == stages
    assert {fifo.name: fifo.predicted for fifo in measured.fifos} == program.schedule.high_water
    with pytest.raises(InvalidInputError, match="accepted are hls, rtl"):
        residual.profile(X, simulate="cosim")


def test_a_frame_rate_makes_it_smaller(residual):
    slow = {"kind": "ext_dev", "device": "pynq-z2", "feature.frames_per_s": 1000}
    smaller = built(residual_net(), target=slow).program
    assert smaller.schedule.interval_cycles <= 100_000
    assert smaller.resources.luts < residual.program.resources.luts
    assert smaller.resources.dsps < residual.program.resources.dsps
    with pytest.raises(InfeasibleDesignError, match="1e\\+08 frames a second"):
        built(residual_net(), target={**slow, "feature.frames_per_s": 1e8})


@needs_headers
def test_a_frame_rate_beyond_a_pixel_in_a_cycle(tmp_path):
    """Wide beats on both sides of the first layers; numbers of the host come in the same order."""
    b = ModelBuilder()
    y = b.relu(b.conv("x", "conv0", 3, 4, strides=[2, 2]))
    net = b.model([1, 3, 8, 8], b.head(b.relu(b.conv(y, "conv1", 4, 4)), "fc", 4, 3))
    fast = {"kind": "ext_dev", "device": "zcu104", "feature.clock_hz": 1e8, "feature.frames_per_s": 1e8 / 32}
    artifact = built(net, target=fast)
    program = artifact.program
    assert (program.graph.input.lanes, program.schedule.interval_cycles) == (2 * 3, 32)
    given, expected = program.vectors([X])
    assert np.array_equal(stream_graphs.meaning(program.graph, given[None])[0], expected)
    assert artifact.profile(X, simulate="hls").predicted_interval_cycles == 32
    artifact.save(tmp_path / "out")
    assert espalier.load(tmp_path / "out").program.digest() == program.digest()


def test_fifos_that_do_not_fit_make_it_slower(residual, monkeypatch):
    """What FIFOs take is known when a design is finished; a slower one may still fit."""
    finished, fastest = Folder._finished, residual.program.schedule.interval_cycles

    def tight(self, interval):
        design = finished(self, interval)
        if design.interval_cycles <= fastest:
            raise InfeasibleDesignError("its FIFOs do not fit")
        return design

    monkeypatch.setattr(Folder, "_finished", tight)
    assert built(residual_net()).program.schedule.interval_cycles > fastest


def test_a_part_that_is_too_small_is_refused_with_numbers():
    with pytest.raises(InfeasibleDesignError, match=r"pynq-z2: the design needs [\d,.]+ blocks of 36 kbit of 140 at "):
        built(plain_net(channels=1024))


def test_a_float_layer_is_refused():
    plan = espalier.Plan(weights="uniform<8>", layers={"conv1": {"weights": "float32"}})
    with pytest.raises(InvalidPlanError, match="layer 'conv1': is in floating point.*--weights 'uniform<8>'"):
        built(plain_net(), plan)
    with pytest.raises(InvalidPlanError, match="is in floating point"):
        espalier.build(espalier.from_onnx(plain_net()), BOARD)


def odd_net(channels: int, size: int) -> onnx.ModelProto:
    b = ModelBuilder()
    y = b.relu(b.conv("x", "conv0", 3, channels))
    y = b.conv(y, "conv1", channels, channels + 2)
    return b.model([1, 3, size, size], b.head(y, "head", channels + 2, 5))


@pytest.mark.parametrize(("channels", "size"), [(5, 8), (7, 5), (6, 1)])
def test_odd_channels_and_images_of_one_pixel(channels, size):
    program = built(odd_net(channels, size)).program
    given, expected = vectors(program, (1, 3, size, size))
    assert np.array_equal(stream_graphs.meaning(program.graph, given), expected)


def gated_net() -> onnx.ModelProto:
    b = ModelBuilder()
    y = b.relu(b.conv(b.relu(b.conv("x", "conv0", 3, 8)), "conv1", 8, 8))
    return b.model([1, 3, 4, 4], b.head(y, "fc", 8, 5))


@needs_headers
@needs_icarus
@pytest.mark.parametrize(
    ("net", "plan"), [(odd_net(5, 4), BYTES), (odd_net(6, 1), BYTES), (gated_net(), GATED)], ids=["odd", "1x1", "gated"]
)
def test_both_projects_of_an_unusual_network_are_exact(net, plan, tmp_path):
    """The emitted C++ and SystemVerilog give what the host computes."""
    artifact = built(net, plan)
    program, shape = artifact.program, artifact.inputs[0].shape
    assert any(stage.winners for stage in program.graph.convolutions()) == (plan is GATED)
    write_files(tmp_path, program.projects())
    given, expected = vectors(program, shape)
    assert len(np.unique(expected)) > 3
    assert build_hls(tmp_path / "hls", tmp_path / "build_hls").run(given, expected).wrong == 0
    gives(program.graph, build_icarus(tmp_path), given, expected)


def test_the_host_computes_what_is_in_front_of_the_first_layer(tmp_path):
    """Here it turns an image [1, H, W, C]; the vectors of the saved project are of an image of that shape."""
    b = ModelBuilder()
    y = b.conv(b.node("Transpose", "x", perm=[0, 3, 1, 2]), "conv0", 3, 4)
    artifact = built(b.model([1, 4, 5, 3], b.head(b.relu(y), "fc", 4, 3)))
    assert (artifact.program.image.shape, artifact.program.graph.input.shape) == ((1, 4, 5, 3), (4, 5, 3))
    artifact.save(tmp_path / "out")
    given = np.fromfile(tmp_path / "out" / "hls" / "vectors" / "input.bin", np.uint8)
    assert len(np.unique(given)) > 30


def test_unequal_delays_have_deep_enough_fifos():
    """A shortcut past three convolutions waits for them."""
    b = ModelBuilder()
    first = b.relu(b.conv("x", "conv0", 3, 8))
    y = first
    for number in range(3):
        y = b.conv(y, f"inner{number}", 8, 8)
    y = b.relu(b.node("Add", y, first))
    program = built(b.model([1, 3, 8, 8], b.head(y, "head", 8, 5))).program
    deepest = max(program.graph.edges, key=lambda edge: edge.depth)
    assert deepest.source.endswith("fork")
    assert deepest.depth * deepest.lanes > 3 * 8 * 8
    given, expected = program.vectors([X])
    assert np.array_equal(stream_graphs.meaning(program.graph, given[None])[0], expected)


def grouped(b):
    return b.conv(b.relu(b.conv("x", "conv0", 3, 8)), "conv1", 8, 8, group=2)


def dilated(b):
    return b.node("Conv", "x", b.weight("w", 8, 3, 3, 3), pads=[2] * 4, dilations=[2, 2])


def concatenated(b):
    y = b.relu(b.conv("x", "conv0", 3, 8))
    return b.conv(b.node("Concat", y, y, axis=1), "conv1", 16, 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (grouped, "2 groups of 8 channels to 8, accepted are 1 group"),
        (dilated, r"dilation \(2, 2\), accepted is \(1, 1\)"),
        (concatenated, "got relax.concat on quantized numbers, accepted are convolution"),
    ],
)
def test_what_no_stage_computes_is_refused(make, message):
    b = ModelBuilder()
    y = b.head(make(b), "head", 8, 5)
    with pytest.raises(UnsupportedOpError, match=message):
        built(b.model([1, 3, 8, 8], y))


def test_a_batch_is_refused():
    with pytest.raises(UnsupportedOpError, match="takes one image at a time"):
        built(plain_net(batch=2), inputs=MANY)


@pytest.mark.parametrize("mode", ["select", "boost"])
def test_a_gated_network_skips_on_both_sides(mode):
    """Pooling keeps the list; the last layer reads a part of its channels."""
    b = ModelBuilder()
    y = b.relu(b.conv("x", "conv0", 3, 16))
    y = b.node("MaxPool", b.relu(b.conv(y, "conv1", 16, 24)), kernel_shape=[2, 2], strides=[2, 2])
    y = b.relu(b.conv(y, "conv2", 24, 16, kernel=1))
    mod = espalier.from_onnx(b.model([1, 3, 8, 8], b.head(y, "fc", 16, 10)))
    found = espalier.calibrate(mod, MANY, GATED)
    gates = {name: dataclasses.replace(gate, mode=mode) for name, gate in found.gates.items()}
    program = espalier.build(mod, BOARD, GATED, dataclasses.replace(found, gates=gates)).program
    stages = {stage.name: stage for stage in program.graph.convolutions()}
    assert [stages[name].in_shape[2] for name in ("conv1", "conv2")] == [8, 12]
    assert all(stages[name].has_pi == (mode == "boost") for name in ("conv0", "conv1", "conv2"))
    for x in MANY[:4]:
        given, expected = program.vectors([x[None]])
        assert np.array_equal(stream_graphs.meaning(program.graph, given[None])[0], expected)


def test_a_gated_artifact_comes_back_from_its_folder(tmp_path):
    artifact = built(residual_net(), GATED)
    artifact.save(tmp_path / "out")
    assert espalier.load(tmp_path / "out").program.digest() == artifact.program.digest()


@pytest.mark.parametrize("placement", ["branch", "sum"])
def test_gates_of_sums_are_refused(placement):
    plan = espalier.Plan(weights="uniform<8>", density=0.5, granularity=4, placement=placement)
    with pytest.raises(UnsupportedOpError, match="channel gate on a residual sum.*placement inner"):
        built(residual_net(), plan)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("fpga_hls/nothing", "no board 'nothing', accepted are fpga_hls/pynq-z2"),
        ("fpga_hls", "no board '', accepted are fpga_hls"),
        ({"kind": "ext_dev", "device": "zcu104", "feature.frames_per_s": -1}, "accepted is a number above 0"),
        ({"kind": "ext_dev", "device": "zcu104", "speed": 1}, "unknown option 'speed'"),
    ],
)
def test_targets_that_are_refused(target, message):
    with pytest.raises(UnsupportedTargetError, match=message):
        espalier.build(espalier.from_onnx(plain_net()), target, BYTES)


def test_compressed_weights_are_for_cpus():
    mod = espalier.from_onnx(plain_net())
    with pytest.raises(InvalidInputError, match="compress"):
        espalier.build(mod, BOARD, BYTES, espalier.calibrate(mod, MANY, BYTES), compress=True)


def test_the_relay_front_door_builds_for_a_board():
    from tvm import relay

    mod, params = relay.frontend.from_onnx(plain_net(), {"x": X.shape})
    with espalier.PassContext(config={"espalier.weights": "uniform<8>", "espalier.calibration": MANY}):
        lib = relay.build(mod, target=BOARD, params=params)
    expected = built(plain_net(), inputs=MANY)
    assert lib.artifact.program.digest() == expected.program.digest()
    assert np.array_equal(lib.artifact(X), expected(X))
    with pytest.raises(UnsupportedTargetError, match="no shared library"):
        lib.export_library("x.so")
