"""Whole networks lowered to CUDA kernels, emulated, give the same as their reference bodies."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from oracles.emulated import run_network
from oracles.graphs import planned, specs
from oracles.integer_networks import IntegerNetwork, gated_network, option_a_network, residual_network
from oracles.networks import NETWORKS
from oracles.running import run_stock
from tvm import relax

from espalier.codegen.cuda.generate import lowered_on, scheduled, with_graphs
from espalier.codegen.cuda.kernels import channel_gate, dense_codebook
from espalier.codegen.phases import machine_phase
from espalier.core.errors import InvalidModelError
from espalier.core.integer import LayerArithmetic
from espalier.core.layers import ChannelGateSpec, DenseSpec
from espalier.core.plan import Plan
from espalier.ir.operators import layer_function
from espalier.ir.rewriting import remarks_of
from espalier.targets.gpu import gpu_of_arch
from espalier.targets.resolve import resolve_target

H100 = gpu_of_arch("sm_90a")
TOLERANCE = {"float32": 1e-5, "float16": 1e-2, "tfloat32": 1e-2}
"""Of the largest output: in a short format a sum near a tie is rounded to either side, and later layers read that."""

CASES = {
    ("plain", "float32"): Plan(),
    ("residual", "float16"): Plan(weights="float16"),
    ("concatenating", "tfloat32"): Plan(weights="tfloat32"),
    ("mobile", "float16"): Plan(weights="float16", density=0.5, granularity=8),
    ("residual", "float32"): Plan(density=0.5, granularity=8, placement="sum"),
    ("plain", "float16"): Plan(weights="float16", density=0.5, granularity=4),
    ("unusual", "float16"): Plan(weights="float16", density=0.5, granularity=8, placement="branch"),
}


@pytest.mark.parametrize("name", CASES, ids="-".join)
def test_lowered_equals_body(name):
    network, number_format = name
    mod = planned(NETWORKS[network](channels=16, size=6, batch=2), CASES[name], mode="boost")
    shape = tuple(map(int, mod["main"].params[0].ty.shape))
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    for ours, theirs in zip(run_network(mod, H100, x), run_stock(mod, x), strict=True):
        assert np.abs(ours - theirs).max() < TOLERANCE[number_format] * np.abs(theirs).max()


QUANTIZED = {
    "residual": residual_network(17, 9),
    "without projection": option_a_network(16),
    "lists of 8": gated_network(16, 8, "output", True),
    "lists of 16": gated_network(32, 16, "branch", True),
    "lists of 4": gated_network(16, 4, "branch", True),
}


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_networks_give_the_integers(name):
    mod = QUANTIZED[name]
    shape = tuple(map(int, mod["main"].params[0].ty.shape))
    x = np.random.default_rng(0).uniform(-1, 4, shape).astype(np.float32)
    (ours,), (expected,) = run_network(mod, H100, x), run_stock(mod, x)
    assert len(np.unique(expected)) > 4
    np.testing.assert_array_equal(ours, expected)


def test_every_quantized_layer_has_a_kernel_unless_its_list_is_too_fine():
    for name in ("residual", "lists of 8"):
        lowered, emitted = lowered_on(QUANTIZED[name], H100)
        launched = {launch.layer.removesuffix(".gate").removesuffix(".sums") for launch in emitted.launches}
        assert launched == {one.removesuffix(".gate") for one in specs(QUANTIZED[name])}, remarks_of(lowered)
    lowered, _ = lowered_on(QUANTIZED["lists of 4"], H100)
    assert [one for one in remarks_of(lowered) if "conv2: no CUDA kernel of ours" in one]  # a mask of a depthwise layer


@pytest.mark.parametrize(("batch", "variant"), [(1, "espalier_dense_codebook"), (32, "espalier_conv2d_int8")])
def test_codes_are_decoded_where_that_is_predicted_to_be_faster(batch, variant):
    """Each sample decodes all codes again; as bytes they are read once for all samples of a tile."""
    g = IntegerNetwork(batch, 1024)
    x, weight = g.quantize(g.x), relax.const(g.random.integers(-8, 8, (1024, 1024)).astype(np.int8))
    spec = DenseSpec("fc", ("x", "weight", "bias", "scale"), format="int8", integer=LayerArithmetic(0))
    scale, bias = relax.const(np.ones(1024, np.float32)), relax.const(np.ones(1024, np.int32))
    mod = g.module(g.operator(layer_function(spec, [x, weight, bias, scale]), x, weight, bias, scale))
    (launch,) = lowered_on(mod, H100)[1].launches
    assert launch.variant.startswith(variant)


def test_sums_beyond_32_bits_are_refused():
    g = IntegerNetwork(1, 8000)
    x = g.quantize(g.x)
    spec = DenseSpec("wide", ("x", "weight", "bias", "scale"), format="int8", integer=LayerArithmetic(0))
    bias = relax.const(np.full(2, 2**31 - 1, np.int32))
    weight, scale = relax.const(np.full((2, 8000), 127, np.int8)), relax.const(np.ones(2, np.float32))
    mod = g.module(g.operator(layer_function(spec, [x, weight, bias, scale]), x, weight, bias, scale))
    with pytest.raises(InvalidModelError, match="layer wide: its sums of products can reach 2406563647, accepted"):
        lowered_on(mod, H100)


def test_counters_share_no_memory_with_an_operand():
    """TVM keeps equal constants once: biases of zero beside as many counters of zero."""
    g = IntegerNetwork(1, 2048)
    x, weight = g.quantize(g.x), relax.const(g.random.integers(-64, 64, (64, 2048)).astype(np.int8))
    spec = DenseSpec("fc", ("x", "weight", "bias", "scale"), format="int8", integer=LayerArithmetic(0))
    scale, bias = relax.const(np.ones(64, np.float32)), relax.const(np.zeros(64, np.int32))
    mod = g.module(g.operator(layer_function(spec, [x, weight, bias, scale]), x, weight, bias, scale))
    lowered, emitted = lowered_on(mod, H100)
    (launch,) = emitted.launches
    counters = [shape for shape, dtype in launch.tensors if dtype == "int32" and len(shape) == 2 and shape[1] == 1]
    assert launch.grid[1] > 1, "the depth is not split"
    assert counters == [(launch.grid[0], 1)]
    assert len(set(launch.tensors)) == len(launch.tensors)


def test_what_a_block_of_the_gpu_has_no_room_for_keeps_its_body():
    turing, gate = gpu_of_arch("sm_75"), ChannelGateSpec("gate", "boost", 8, 4)
    assert channel_gate.fits(gate, 8048, 512, turing)
    assert not channel_gate.fits(gate, 8049, 512, turing)
    assert channel_gate.fits(gate, 8049, 512, H100)
    spec = DenseSpec("fc", ("x", "weight", "bias", "scale"), format="int8", integer=LayerArithmetic(0))
    depth = turing.block_shared_bytes
    assert dense_codebook.fits(spec, np.zeros((1, depth), np.int8))
    assert not dense_codebook.fits(spec, np.zeros((1, depth + 1), np.int8))


def test_every_layer_that_can_has_a_kernel_and_the_report_names_the_others():
    mod = planned(NETWORKS["unusual"](), Plan(weights="float16"))
    lowered, emitted = lowered_on(mod, H100)
    assert {launch.layer for launch in emitted.launches} == specs(mod).keys() - {"grouped"}
    assert any("grouped: no CUDA kernel of ours (grouped convolution)" in remark for remark in remarks_of(lowered))
    mod = planned(NETWORKS["mobile"](), Plan(weights="float16", density=0.5, granularity=8))
    launched = {launch.layer for launch in lowered_on(mod, H100)[1].launches}
    assert {layer for layer in launched if not layer.endswith(".sums")} == specs(mod).keys()


SUMMED = {
    "an image and what depthwise layers give": (
        "mobile",
        Plan(density=0.5, granularity=8),
        ["stem", "pointwise0", "pointwise1"],
    ),
    "what passes through a pool": (
        "residual",
        Plan(density=0.5, granularity=8, placement="sum"),
        ["stem", "block1.conv1"],
    ),
    "sums whose list is lost": (
        "residual",
        Plan(density=0.5, granularity=8, placement="branch"),
        ["stem", "block1.conv1", "block2.conv1", "block2.shortcut", "block3.conv1", "block3.shortcut"],
    ),
}


@pytest.mark.parametrize("case", SUMMED)
def test_a_gate_reads_what_a_convolution_left_behind_where_it_can(case):
    network, plan, expected = SUMMED[case]
    launches = lowered_on(planned(NETWORKS[network](channels=16), plan), H100)[1].launches
    assert [one.layer.removesuffix(".sums") for one in launches if one.layer.endswith(".sums")] == expected


def test_what_a_gpu_has_no_tensor_instruction_for_keeps_its_body():
    mod, turing = planned(NETWORKS["plain"](), Plan(weights="tfloat32")), gpu_of_arch("sm_75")
    assert [one for one in remarks_of(lowered_on(mod, turing)[0]) if "number format tfloat32 on sm_75" in one]
    mod = planned(NETWORKS["plain"](), Plan(weights="float16"))
    assert {launch.layer for launch in lowered_on(mod, turing)[1].launches} == specs(mod).keys()


def test_launches_count_the_work():
    mod = planned(NETWORKS["plain"](channels=32), Plan(weights="float16", density=0.5, granularity=8))
    conv1 = next(one for one in lowered_on(mod, H100)[1].launches if one.layer == "conv1")
    assert conv1.macs == 8 * 8 * 9 * 16 * 16  # half of 32 channels on both sides
    assert conv1.issued_macs >= conv1.macs
    assert conv1.bytes == 2 * (8 * 8 * 16 + 9 * 16 * 16 + 8 * 8 * 16) + 4 * 16  # the sums of one tile


def test_everything_between_input_and_output_is_one_graph():
    mod, emitted = lowered_on(planned(NETWORKS["residual"](), Plan(density=0.5, granularity=8)), H100)
    target = resolve_target("nvidia/nvidia-h100")
    mod = scheduled(mod, target)
    with target, with_graphs():
        mod = tvm.transform.Sequential(machine_phase(cuda_graph=True)[:5])(mod)
    outside = mod["main"].script()
    (captured,) = (one.script() for gvar, one in mod.functions.items() if "cuda_graph_capture" in gvar.name_hint)
    assert captured.count('R.call_packed("espalier') == len(emitted.launches)
    assert 'R.call_packed("espalier' not in outside
