"""Single convolutions for benchmarks: as a problem, at a density, and as a call that can be timed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tvm

from espalier.codegen.cpu.kernels.problem import ConvProblem
from espalier.codegen.cpu.layout import Layout
from espalier.codegen.cpu.select import Family
from espalier.core.layers import Activation, ActiveList, Conv2dSpec
from espalier.core.plan import default_granularity, kept_groups

DRAWS = 8
"""Different lists that the calls of a gated kernel take in turn."""


def problem(c_in: int, c_out: int, size: int, kernel: int, stride: int, winograd: bool = True) -> ConvProblem:
    """A dense convolution of a square image, with bias and ReLU."""
    roles, pads = ("x", "weight", "bias"), (kernel // 2,) * 4
    spec = Conv2dSpec("layer", roles, Activation("relu"), strides=(stride, stride), padding=pads, winograd=winograd)
    out = (size + 2 * pads[0] - kernel) // stride + 1
    return ConvProblem(spec, (1, c_in, size, size), (c_out, c_in, kernel, kernel), (1, c_out, out, out))


def at_density(one: ConvProblem, density: float, x_is_gated: bool = True) -> ConvProblem:
    """The problem with a density on its output, and on its input if `x_is_gated`.

    A depthwise layer computes the winners of its input's gate and has no gate of its own, as in a pruned network.
    """
    winners = active_list(one.channels_out, density)
    if one.is_depthwise:
        return _with_arguments(one, "winners", gate="listed", winners=winners)
    gated = _with_arguments(one, "pi", "winners", gate="output", winners=winners)
    if not x_is_gated:
        return gated
    return _with_arguments(gated, "active", active=active_list(one.channels_in, density))


def active_list(channels: int, density: float) -> ActiveList:
    """The list of a tensor at a density, in its default granularity."""
    granularity = default_granularity(channels)
    return ActiveList(kept_groups(channels, density, granularity), granularity)


def runner(one: ConvProblem, family: Family, target) -> Callable[[], object]:
    """A call of the compiled kernel on random data; lists change from call to call.

    Neither output nor residual has a margin, and losing channels are not cleared.
    """
    rng = np.random.default_rng(0)
    x_layout, out_layout = Layout(family.x_blocks[0], one.halo_needed), Layout(family.out_block)
    residual_layout = out_layout if "residual" in one.spec.roles else None
    function = compiled(family.build(x_layout, out_layout, residual_layout, False), target)
    stored_out = out_layout.physical(one.out_shape)
    constants = {"weight": rng.standard_normal(one.weight_shape, "float32"), "bias": np.zeros(one.channels_out, "float32")}
    data = {
        "x": rng.standard_normal(x_layout.physical(one.x_shape), "float32"),
        **family.pack(constants, x_layout.block),
        "pi": np.ones((1, one.channels_out), "float32"),
        "residual": rng.standard_normal(stored_out, "float32"),
    }
    fixed = {role: tvm.runtime.tensor(data[role]) for role in one.spec.roles if role in data}
    out = tvm.runtime.tensor(np.zeros(stored_out, "float32"))
    draws = [[*(fixed[r] if r in fixed else draw(one, r, rng) for r in one.spec.roles), out] for _ in range(DRAWS)]
    turn = iter(range(10**9))
    return lambda: function(*draws[next(turn) % DRAWS])


def compiled(kernel: tvm.tirx.PrimFunc, target):
    """The machine code of one kernel, as a function of tensors."""
    return tvm.compile(tvm.IRModule({"main": kernel.with_attr("global_symbol", "main")}), target).mod["main"]


def draw(one: ConvProblem, role: str, rng) -> tvm.runtime.Tensor:
    """A random ascending list of groups."""
    active = one.spec.winners if role == "winners" else one.spec.active
    groups = (one.channels_out if role == "winners" else one.channels_in) // active.granularity
    return tvm.runtime.tensor(np.sort(rng.permutation(groups)[: active.count])[None].astype("int32"))


def _with_arguments(one: ConvProblem, *roles: str, **changes) -> ConvProblem:
    return dataclasses.replace(one, spec=one.spec.with_arguments(*roles, **changes))
