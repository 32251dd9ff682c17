"""Single convolutions for benchmarks: as a problem, at a density, and as a call that can be timed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tvm

from espalier.codegen.cpu.kernels.int8 import as_kernels_take_it
from espalier.codegen.cpu.kernels.problem import ConvProblem
from espalier.codegen.cpu.kernels.requantize import rounding_of
from espalier.codegen.cpu.layout import Layout
from espalier.codegen.cpu.select import Family
from espalier.core.integer import LayerArithmetic, ResidualArithmetic
from espalier.core.layers import Activation, ActiveList, Conv2dSpec
from espalier.core.plan import default_granularity, kept_groups
from espalier.targets.cpu import Isa

SHIFT = 24
"""Of the multipliers of layers of bytes."""

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


def in_int8(one: ConvProblem, isa: Isa) -> ConvProblem:
    """The layer on bytes, with the arguments that its kernel takes; its zero points are 0, as behind a ReLU."""
    residual = ResidualArithmetic(0) if "residual" in one.spec.roles else None
    arithmetic = LayerArithmetic(0, SHIFT, residual=residual, pi_shift=4)
    spec = one.spec.with_arguments("multiplier", format="int8", out_format="uint8", integer=arithmetic)
    one = dataclasses.replace(one, spec=as_kernels_take_it(spec, isa))
    rounding = rounding_of(one.spec, _constants(one, np.random.default_rng(0)), isa)
    return dataclasses.replace(one, rounding=rounding)


def _constants(one: ConvProblem, rng) -> dict[str, np.ndarray]:
    """Weight and bias; of bytes also the multiplier that brings sums to the scale of bytes."""
    if one.spec.format != "int8":
        weight = rng.standard_normal(one.weight_shape, "float32")
        return {"weight": weight, "bias": np.zeros(one.channels_out, "float32")}
    weight = np.clip(np.rint(40 * rng.standard_normal(one.weight_shape, "float32")), -128, 127).astype("int8")
    scale = 60 / (40 * 74 * np.prod(one.weight_shape[1:]) ** 0.5) / (100 if "pi" in one.spec.roles else 1)
    multiplier = np.full(one.channels_out, round(scale * 2**SHIFT), "int32")
    return {"weight": weight, "bias": np.zeros(one.channels_out, "int32"), "multiplier": multiplier}


def _values(shape: tuple[int, ...], layout: Layout, rng) -> np.ndarray:
    """Random contents of a stored tensor."""
    if layout.dtype == "uint8":
        return rng.integers(0, 256, shape).astype("uint8")
    return rng.standard_normal(shape, "float32")


def runner(one: ConvProblem, family: Family, target) -> Callable[[], object]:
    """A call of the compiled kernel on random data; lists change from call to call.

    Neither output nor residual has a margin, and losing channels are not cleared.
    """
    rng = np.random.default_rng(0)
    dtype = "uint8" if one.spec.format == "int8" else "float32"
    x_layout, out_layout = Layout(family.x_blocks[0], one.halo_needed, dtype), Layout(family.out_block, dtype=dtype)
    residual_layout = out_layout if "residual" in one.spec.roles else None
    function = compiled(family.build(x_layout, out_layout, residual_layout, False), target)
    stored_out = out_layout.physical(one.out_shape)
    data = {
        "x": _values(x_layout.physical(one.x_shape), x_layout, rng),
        **family.pack(_constants(one, rng), x_layout.block),
        **dict.fromkeys(("pi", "mask"), np.ones((1, one.channels_out), dtype)),
        "residual": _values(stored_out, out_layout, rng),
    }
    fixed = {role: tvm.runtime.tensor(data[role]) for role in one.spec.roles if role in data}
    out = tvm.runtime.tensor(np.zeros(stored_out, dtype))
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
