"""Whole networks give the same lowered as by their reference bodies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.graphs import Graph, pruned, random_calibration
from oracles.networks import NETWORKS, concatenating, plain, residual
from oracles.running import CPUS, assert_close, drawn, every_isa, run_stock
from tvm import relax, tirx
from tvm.target import Target

from espalier.build import prepare
from espalier.codegen.cpu.generate import generate
from espalier.codegen.cpu.layout import Layout
from espalier.codegen.cpu.lower import LowerOnCpu
from espalier.core import ir_names
from espalier.core.plan import Plan
from espalier.targets.cpu import ISAS
from espalier.targets.resolve import resolve_target

AVX512 = ISAS[0]


def random_input(mod) -> np.ndarray:
    shape = tuple(map(int, mod["main"].params[0].ty.shape))
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def target_for(isa) -> Target:
    return resolve_target({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "num-cores": 2, **CPUS.get(isa.name, {})})


def check(mod, target=None) -> None:
    """Compare the lowered module with its bodies, which TVM alone compiles."""
    x = random_input(mod)
    lowered = generate(mod, target or resolve_target("llvm")).run([x])
    for ours, theirs in zip(lowered, run_stock(mod, x), strict=True):
        assert_close(ours, theirs)


plans = st.builds(
    Plan,
    density=st.sampled_from([0.25, 0.5, 0.75, 1.0]),
    granularity=st.sampled_from([None, 1, 4, 8, 16]),
    placement=st.sampled_from(["inner", "branch", "sum"]),
)


@pytest.mark.parametrize("name", NETWORKS)
def test_lowered_equals_body(name):
    @drawn(4)
    @given(
        st.sampled_from([3, 17, 20, 32]),
        st.integers(5, 9),
        st.sampled_from([1, 3]),
        plans,
        st.sampled_from(["select", "boost"]),
        st.integers(0, 100),
    )
    def holds(channels, size, batch, plan, mode, seed):
        check(pruned(NETWORKS[name](channels, size, batch, seed), plan, mode))

    holds()


@every_isa
@pytest.mark.parametrize("name", ["residual", "mobile"])
def test_every_instruction_set(isa, name):
    check(pruned(NETWORKS[name](32), Plan(density=0.5, placement="sum"), "boost"), target_for(isa))


def test_bodies_through_our_own_loops():
    """`lower=False`: no kernel of ours, and the schedules of stock operators."""
    mod = pruned(residual(batch=3), Plan(density=0.5, placement="branch"))
    x = random_input(mod)
    program = generate(mod, resolve_target("llvm"), lower=False)
    assert set(program.kernel_layers.values()) == {""}
    assert_close(program.run([x])[0], run_stock(mod, x)[0])


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("count_include_pad", [False, True])
def test_pools_between_layers(ceil_mode, count_include_pad):
    """The pools' edges as TVM defines them."""
    g = Graph(2, 3, 8, 9)
    y = g.relu(g.conv(g.x, "conv0", 32))
    attrs = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    average = g.emit(relax.op.nn.avg_pool2d(y, (3, 3), (2, 2), (1, 1), **attrs))
    largest = g.emit(relax.op.nn.max_pool2d(y, (3, 3), (2, 2), (1, 1), ceil_mode=ceil_mode))
    check(prepare(g.module(g.conv(average, "conv1", 16), g.conv(largest, "conv2", 16))))


def test_a_depthwise_layer_with_a_residual():
    g = Graph(2, 32, 6, 6)
    y = g.relu(g.conv(g.x, "conv", 32))
    y = g.relu(g.emit(relax.op.add(g.conv(y, "depthwise", 32, groups=32), y)))
    check(prepare(g.module(g.head(y))))


def test_a_value_added_to_itself():
    g = Graph(1, 3, 6, 6)
    y = g.conv(g.x, "conv", 32)
    check(prepare(g.module(g.head(g.emit(relax.op.add(y, y))))))


def test_outputs_in_the_middle_are_plain_and_whole():
    """A gated tensor that is returned has zeros where channels lost, though its other reader uses the list."""
    g = Graph(2, 3, 6, 6)
    y = g.relu(g.conv(g.x, "conv0", 32))
    mod = pruned(g.module(y, g.conv(y, "conv1", 16)), Plan(density=0.5))
    check(mod)
    returned = generate(mod, resolve_target("llvm")).run([random_input(mod)])[0]
    np.testing.assert_array_equal(returned.any((2, 3)).sum(1), [16, 16])


def test_networks_without_any_layer():
    g = Graph(1, 3, 6, 6)
    check(prepare(g.module(g.emit(relax.op.exp(g.relu(g.x))))))


def test_an_input_that_is_returned():
    g = Graph(1, 3, 6, 6)
    check(prepare(g.module(g.x, g.conv(g.x, "conv", 16))))


def kernels(mod, isa=AVX512) -> list[str]:
    """Names of the kernels that main calls, in order, when lowered."""
    main = LowerOnCpu(isa)(mod)["main"]
    calls = [binding.value for block in main.body.blocks for binding in block.bindings]
    return [
        call.args[0].name_hint for call in calls if isinstance(call, relax.Call) and call.op.name == "relax.call_tir"
    ]


def test_tensors_change_layout_at_the_ends_only():
    """The network's input gets its halo; wide layers hand each other blocks."""
    names = kernels(prepare(residual(channels=64, size=14)))
    assert [name for name in names if name.startswith("change_layout")] == ["change_layout"]
    assert sum("conv" in name or "blocked" in name or "planar" in name for name in names) >= 9


def test_a_concatenation_of_whole_blocks_stays_in_blocks():
    names = kernels(prepare(concatenating(channels=64, size=14)))
    assert sum(name.startswith("change_layout") for name in names) == 1
    assert any(name.startswith("concat") for name in names)


@pytest.mark.parametrize("density", [1.0, 0.5])
def test_every_layer_has_kernels_under_its_name(density):
    """Profiles attribute time by these names."""
    mod = pruned(plain(), Plan(density=density))
    lowered = LowerOnCpu(AVX512)(mod)
    owners = [str(f.attrs[ir_names.KERNEL_LAYER]) for f in lowered.functions.values() if isinstance(f, tirx.PrimFunc)]
    assert {"conv0", "conv1", "conv2", "fc"} <= set(owners)
    assert owners.count("conv1") == (2 if density < 1 else 1)


def test_nothing_of_ours_is_left_after_lowering():
    mod = pruned(residual(), Plan(density=0.5, placement="sum"))
    lowered = LowerOnCpu(AVX512)(mod)
    assert not [f for f in lowered.functions.values() if f.attrs and ir_names.COMPOSITE in f.attrs]
    relax.analysis.well_formed(lowered)  # raises if it is not


def test_gates_of_a_batch_are_the_gates_of_its_samples():
    """Every sample has its own lists: a batch is as good as its samples one by one."""
    plan, three, one = Plan(density=0.5, placement="sum"), residual(batch=3), residual(batch=1)
    calibration = random_calibration(one, plan, "boost")
    from espalier.build import build

    x = random_input(three)
    whole = build(three, "llvm", plan, calibration)(x)
    single = build(one, "llvm", plan, calibration)
    assert_close(whole, np.concatenate([single(x[i : i + 1]) for i in range(3)]))


@pytest.mark.parametrize(("block", "halo"), [(1, 0), (16, 2)])
def test_layout_index_counts_from_the_inside(block, halo):
    index = Layout(block, halo).index(1, 2, 3, 4, 5)
    assert index == [1, 2, 3 + halo, 4 + halo] + ([5] if block > 1 else [])
