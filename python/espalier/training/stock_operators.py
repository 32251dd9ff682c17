"""Stock Relax operators between layers, on torch tensors of numbers or reals."""

from __future__ import annotations

import torch
from torch.nn import functional
from tvm import relax

from ..core.errors import UnsupportedOpError
from ..ir.dataflow import shape_of


def stock(call: relax.Call, given: list) -> torch.Tensor:
    """What a call gives for tensors [N, ...] of any N; arguments that are no tensors are expressions.

    Raises UnsupportedOpError for any other operator than those below.
    """
    name = call.op.name.removeprefix("relax.").removeprefix("nn.")
    if name not in FUNCTIONS:
        raise UnsupportedOpError(
            f"integer evaluation: operator {call.op.name} between layers, accepted are {', '.join(sorted(FUNCTIONS))}"
        )
    return FUNCTIONS[name](call, *given)


def _reshape(call: relax.Call, x: torch.Tensor, *_shape) -> torch.Tensor:
    """The first dimension stays that of the batch if the call leaves it alone."""
    shape = shape_of(call)
    return x.reshape(len(x) if shape[0] == shape_of(call.args[0])[0] else shape[0], *shape[1:])


def _pad(call: relax.Call, x: torch.Tensor) -> torch.Tensor:
    widths = [int(one) for one in call.attrs.pad_width]
    pairs = [width for pair in reversed(list(zip(widths[::2], widths[1::2]))) for width in pair]
    return functional.pad(x, pairs, value=float(call.attrs.pad_value))


def _strided_slice(_call: relax.Call, x: torch.Tensor, axes, begin, end, strides=None, *_rest) -> torch.Tensor:
    axes, begin, end = ([int(one.value) for one in part.fields] for part in (axes, begin, end))
    steps = [int(one.value) for one in strides.fields] if strides is not None else [1] * len(axes)
    for axis, *piece in zip(axes, begin, end, steps):
        x = x[(*[slice(None)] * axis, slice(*piece))]
    return x


def _pool(call: relax.Call, x: torch.Tensor) -> torch.Tensor:
    attrs, dtype = call.attrs, x.dtype
    size, strides, padding = ([int(one) for one in part] for part in (attrs.pool_size, attrs.strides, attrs.padding))
    top, left, bottom, right = padding
    x = functional.pad(x.float(), (left, right, top, bottom), value=float("-inf"))
    return functional.max_pool2d(x, size, strides, ceil_mode=bool(attrs.ceil_mode)).to(dtype)


def _mean(call: relax.Call, x: torch.Tensor) -> torch.Tensor:
    return x.mean([int(axis) for axis in call.attrs.axis], keepdim=bool(call.attrs.keepdims))


FUNCTIONS = {
    "add": lambda _call, x, y: x + y,
    "adaptive_avg_pool2d": lambda call, x: functional.adaptive_avg_pool2d(x, shape_of(call)[2:]),
    "batch_flatten": _reshape,
    "clip": lambda _call, x, low, high: x.clamp(float(low.value), float(high.value)),
    "concat": lambda call, parts: torch.cat(parts, int(call.attrs.axis)),
    "expand_dims": _reshape,
    "flatten": _reshape,
    "max_pool2d": _pool,
    "maximum": lambda _call, x, y: torch.maximum(x, y),
    "mean": _mean,
    "multiply": lambda _call, x, y: x * y,
    "pad": _pad,
    "permute_dims": lambda call, x: x.permute([int(axis) for axis in call.attrs.axes]),
    "relu": lambda _call, x: x.clamp(min=0),
    "reshape": _reshape,
    "sigmoid": lambda _call, x: x.sigmoid(),
    "squeeze": _reshape,
    "strided_slice": _strided_slice,
}
"""By the operator's name without "relax." and "nn."."""
