"""A convolution with strides over an image of few channels reads blocks of its pixels as channels, without strides.

A pixel in the kernels' layout is at least one copy of 16 bytes, of which an image of 3 channels fills less than half.
A block of 2 x 2 pixels has 12 channels: a 7x7 convolution of 3 channels with strides of 2 is a 4x4 convolution of 12
without strides, whose products are the same, some zeros more, and whose taps are a third.

Source: Ying et al., Image Classification at Supercomputer Scale, 2018 (section 3.3, "space-to-depth").
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.core import ir_names
from espalier.core.layers import Conv2dSpec
from espalier.ir.dataflow import argument, constant, shape_of
from espalier.ir.operators import layer_function
from espalier.ir.rewriting import BindingRewriter

MOST_CHANNELS = 16
"""Of a block of pixels: those of a pixel of bytes in the kernels' layout, and of two pixels of halves."""


@tvm.transform.module_pass(opt_level=0, name="FoldStrides")
class FoldStrides:
    """Strides of convolutions over images of few channels become channels; all others stay."""

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main."""
        return _StrideFolder(mod).run()


@mutator
class _StrideFolder(BindingRewriter):
    def rewrite(self, var: relax.Var, value: relax.Expr) -> relax.Expr:
        operator, spec, call = self.flow.layer_of(var) or (None, None, None)
        if operator != ir_names.CONV2D or not folds(spec, call):
            return super().rewrite(var, value)
        x, weight = argument(spec, call, "x"), constant(argument(spec, call, "weight"))
        arguments = dict(zip(spec.roles, map(self.visit_expr, call.args), strict=True))
        blocks = self.builder_.emit(blocks_of(arguments["x"], shape_of(x), spec.strides))
        spec, weight = folded(spec, weight)
        given = list((arguments | {"x": blocks, "weight": relax.const(weight)}).values())
        return self.call_operator(layer_function(spec, given), spec.name, given)


def folds(spec: Conv2dSpec, call: relax.Call) -> bool:
    """Whether a convolution is one over an image of whole blocks that are no larger than a pixel may be."""
    shape, weight = shape_of(argument(spec, call, "x")), constant(argument(spec, call, "weight"))
    (down, across), plain = spec.strides, spec.groups == 1 and spec.dilation == (1, 1) and spec.active is None
    whole = shape[2] % down == 0 and shape[3] % across == 0
    return plain and weight is not None and whole and 1 < down * across <= MOST_CHANNELS // shape[1]


def blocks_of(x: relax.Expr, shape: tuple[int, ...], strides: tuple[int, int]) -> relax.Expr:
    """x [N, C, H, W] as [N, down * across * C, H / down, W / across]."""
    (batch, channels, height, width), (down, across) = shape, strides
    parts = relax.op.reshape(x, (batch, channels, height // down, down, width // across, across))
    parts = relax.op.permute_dims(parts, [0, 3, 5, 1, 2, 4])
    return relax.op.reshape(parts, (batch, down * across * channels, height // down, width // across))


def folded(spec: Conv2dSpec, weight: np.ndarray) -> tuple[Conv2dSpec, np.ndarray]:
    """The convolution over blocks. weight: [K, C, R, S]; the result is [K, down * across * C, rows, columns].

    Tap r reads row p * stride + r - before of x for row p of y: row (r - before) mod stride of the block of rows that
    is floor((r - before) / stride) further down than p.
    """
    (down, across), (top, left, bottom, right) = spec.strides, spec.padding
    channels_out, channels, *taps = weight.shape
    corner, rest, size = [], [], []  # blocks before the image, blocks after it, and taps
    for stride, before, after, tap in zip(spec.strides, (top, left), (bottom, right), taps):
        beyond = (tap - 1 - before) // stride + 1
        corner.append(-(-before // stride))
        rest.append((before + after - tap) // stride + beyond)
        size.append(corner[-1] + beyond)
    out = np.zeros((channels_out, down, across, channels, *size), weight.dtype)
    for r, s in np.ndindex(*taps):
        (row, inside), (column, beside) = divmod(r - top, down), divmod(s - left, across)
        out[:, inside, beside, :, row + corner[0], column + corner[1]] = weight[:, :, r, s]
    out = out.reshape(channels_out, down * across * channels, *size)
    return dataclasses.replace(spec, strides=(1, 1), padding=(*corner, *rest)), out
