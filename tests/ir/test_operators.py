"""The body of every operator is what its docstring says."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st
from oracles import nn
from oracles.running import assert_close_in, drawn, run_stock
from tvm import relax

from espalier.core import ir_names
from espalier.core.layers import Activation, ActiveList, ChannelGateSpec, Conv2dSpec, DenseSpec
from espalier.ir.channels import winners_mask
from espalier.ir.operators import channel_gate_function, layer_function, operator_of

ACTIVATIONS = [Activation(), Activation("relu"), Activation("clip", 0.0, 6.0), Activation("clip", -1.0, 0.5)]
RANDOM = np.random.default_rng(0)


def arguments_for(arrays) -> list[relax.Var]:
    """Variables of the types of numpy arrays."""
    return [relax.Var(f"a{i}", relax.TensorType(one.shape, str(one.dtype))) for i, one in enumerate(arrays)]


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


def some_groups(batch: int, groups: int, kept: int) -> np.ndarray:
    """int32 [batch, kept]: ascending group numbers."""
    return np.sort(RANDOM.random((batch, groups)).argsort(1)[:, :kept], axis=1).astype(np.int32)


def masked(array: np.ndarray, groups: np.ndarray, granularity: int) -> np.ndarray:
    """The array [N, C, ...] with zeros in every channel that is not listed."""
    mask = nn.listed_channels(groups, granularity, array.shape[1])
    return (array * mask.reshape(*mask.shape, *[1] * (array.ndim - 2))).astype(np.float32)


def check_layer(spec, arrays: dict) -> None:
    arrays = {role: arrays[role] for role in spec.roles}
    function = layer_function(spec, arguments_for(arrays.values()))
    assert_close_in(spec.out_format, run_stock(function, *arrays.values())[0], nn.layer(spec, arrays))


GATES = [("none", ()), ("branch", ("pi", "winners")), ("output", ("pi", "winners")), ("listed", ("winners",))]


@drawn(12)
@given(
    st.sampled_from(GATES),
    st.lists(st.sampled_from(["bias", "residual", "active"]), unique=True),
    st.sampled_from(ACTIVATIONS),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.sampled_from([(1, 1), (2, 1), (3, 2)]),
    st.sampled_from([(1, 8, 8), (2, 8, 4), (8, 8, 8), (4, 12, 16)]),
    st.integers(1, 3),
    st.sampled_from(["float32", "bfloat16"]),
)
def test_conv2d_body(gate, more, activation, strides, padding, dilation, channels, batch, form):
    groups, c_in, c_out = channels
    more = [role for role in more if role != "active" or groups == 1]
    spec = Conv2dSpec(
        "conv",
        ("x", "weight", *more, *gate[1]),
        activation,
        gate[0],
        winners=ActiveList(2, 2) if gate[1] else None,
        active=ActiveList(3, 2) if "active" in more else None,
        strides=strides,
        padding=padding,
        dilation=dilation,
        groups=groups,
        format=form,
        out_format=form,
    )
    arrays = {
        "x": normal(batch, c_in, 9, 8),
        "weight": nn.bfloat16(normal(c_out, c_in // groups, 3, 2)),
        "bias": normal(c_out),
        "winners": some_groups(batch, c_out // 2, 2),
        "active": some_groups(batch, c_in // 2, 3),
    }
    arrays["pi"] = masked(np.abs(normal(batch, c_out)), arrays["winners"], 2)
    if "active" in more:
        arrays["x"] = masked(arrays["x"], arrays["active"], 2)
    arrays["residual"] = normal(*nn.conv2d(arrays["x"], arrays["weight"], strides, padding, dilation, groups).shape)
    check_layer(spec, arrays)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda one: f"{one.kind}{one.low:g}")
@pytest.mark.parametrize("more", [(), ("bias",), ("bias", "active")], ids="-".join)
def test_dense_body(batch, activation, more):
    active = ActiveList(2, 4) if "active" in more else None
    spec = DenseSpec("fc", ("x", "weight", *more), activation, active=active)
    listed = some_groups(batch, 4, 2)
    arrays = {"x": normal(batch, 16), "weight": normal(5, 16), "bias": normal(5), "active": listed}
    if active:
        arrays["x"] = masked(arrays["x"], listed, 4)
    check_layer(spec, arrays)


def gate_of(x, phi, rho, mode: str, granularity: int, kept: int):
    """What the body of a channel gate gives."""
    spec = ChannelGateSpec("gate", mode, granularity, kept)
    return run_stock(channel_gate_function(spec, arguments_for([x, phi, rho])), x, phi, rho)


def small_integers(*shape: int, low: int = -2) -> np.ndarray:
    """Few distinct values, so that sums are exact and ties are frequent."""
    return RANDOM.integers(low, 3, shape).astype(np.float32)


@drawn(12)
@given(
    st.sampled_from(["select", "boost"]),
    st.sampled_from([1, 4, 8, 16]),
    st.sampled_from([2, 3, 5]),
    st.data(),
    st.sampled_from([(1, 3, 1, 1), (2, 8, 2, 4), (3, 5, 4, 2)]),
)
def test_gate_body_with_many_ties(mode, granularity, groups, data, x_shape):
    kept = data.draw(st.integers(1, groups))
    channels = groups * granularity
    x, phi, rho = small_integers(*x_shape), small_integers(x_shape[1], channels), small_integers(channels)
    pi, winners = gate_of(x, phi, rho, mode, granularity, kept)
    expected_pi, expected_winners = nn.channel_gate(x, phi, rho, mode, granularity, kept)
    np.testing.assert_array_equal(winners, expected_winners, strict=True)
    np.testing.assert_array_equal(pi, expected_pi)
    assert pi.dtype == np.float32


@pytest.mark.parametrize("mode", ["select", "boost"])
@pytest.mark.parametrize("rho", [-1.0, 0.0, 1.0])
def test_equal_saliencies_are_won_by_the_lowest_groups(mode, rho):
    """A negative rho makes every saliency zero: the list is still full."""
    x, phi = np.zeros((2, 3, 4, 4), np.float32), np.ones((3, 16), np.float32)
    pi, winners = gate_of(x, phi, np.full(16, rho, np.float32), mode, 4, 3)
    np.testing.assert_array_equal(winners, [[0, 1, 2]] * 2)
    factor = max(rho, 0) if mode == "boost" else 1
    np.testing.assert_array_equal(pi, [[factor] * 12 + [0] * 4] * 2)


def test_gate_body_with_active_list_ignores_it():
    """The list only permits to skip work: the channels outside it are zero."""
    listed = some_groups(2, 4, 2)
    x, phi, rho = masked(normal(2, 16, 3, 3), listed, 4), normal(16, 8), normal(8)
    spec = ChannelGateSpec("gate", "boost", 1, 4)
    with_list = spec.with_arguments("active", active=ActiveList(2, 4))
    plain = run_stock(channel_gate_function(spec, arguments_for([x, phi, rho])), x, phi, rho)
    arrays = [x, phi, rho, listed]
    for ours, theirs in zip(run_stock(channel_gate_function(with_list, arguments_for(arrays)), *arrays), plain):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("granularity", [1, 4, 16])
def test_winners_mask(granularity):
    channels = 6 * granularity
    winners = some_groups(3, 6, 2)
    builder = relax.BlockBuilder()
    given_list = relax.Var("winners", relax.TensorType(winners.shape, "int32"))
    with builder.function("main", [given_list]):
        with builder.dataflow():
            mask = builder.emit_output(winners_mask(given_list, granularity, channels))
        builder.emit_func_output(mask)
    np.testing.assert_array_equal(
        run_stock(builder.get(), winners)[0], nn.listed_channels(winners, granularity, channels)
    )


SPECS = [
    (
        Conv2dSpec("c", strides=(2, 1), padding=(1, 0, 2, 3), dilation=(1, 2)),
        ir_names.CONV2D,
        [(1, 3, 9, 9), (4, 3, 3, 3)],
    ),
    (DenseSpec("d", activation=Activation("clip", -1.5, 3.0)), ir_names.DENSE, [(2, 8), (5, 8)]),
    (ChannelGateSpec("g", "boost", 4, 2), ir_names.CHANNEL_GATE, [(1, 3, 9, 9), (3, 16), (16,)]),
]


@pytest.mark.parametrize(("spec", "name", "shapes"), SPECS, ids=["conv2d", "dense", "channel_gate"])
def test_operator_of_reads_back_the_spec(spec, name, shapes):
    build = channel_gate_function if name == ir_names.CHANNEL_GATE else layer_function
    function = build(spec, arguments_for([np.zeros(shape, np.float32) for shape in shapes]))
    assert operator_of(function) == (name, spec)
    relax.analysis.well_formed(
        tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    )  # raises if it is not


def test_operator_of_other_functions_is_none():
    x = relax.Var("x", relax.TensorType((2,), "float32"))
    function = relax.Function([x], x, relax.TensorType((2,), "float32"))
    assert operator_of(function) is None
    assert operator_of(function.with_attr(ir_names.COMPOSITE, "dnnl.conv2d")) is None


def test_wrong_number_of_arguments_is_refused():
    with pytest.raises(ValueError, match="shorter|longer"):
        layer_function(DenseSpec("d", ("x", "weight", "bias")), arguments_for([np.zeros((1, 2), np.float32)] * 2))
