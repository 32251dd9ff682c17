"""The operators between quantized layers become kernels on stored tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tvm import relax

from espalier.core import ir_names
from espalier.ir.dataflow import dtype_of, shape_of

from .kernels import glue, integer_glue
from .kernels.int8 import QUAD
from .layout import PLAIN_BYTES, Layout


class QuantizationKernels:
    """Lowers quantize, dequantize, the mean over the image, and add.

    lowering: the pass at work; it knows which tensor is stored how.
    """

    def __init__(self, lowering):
        self.lowering = lowering

    def handlers(self) -> dict[str, Callable]:
        """What lowers the call bound to a variable, by the operator's name."""
        return {
            ir_names.QUANTIZE: self._quantize,
            ir_names.DEQUANTIZE: partial(self._pointwise, meaning=integer_glue.dequantized, name="dequantize"),
            ir_names.MEAN_POOL: self._mean_pool,
            ir_names.ADD: partial(self._pointwise, meaning=integer_glue.added, name="add_int8"),
        }

    def _quantize(self, var: relax.Var, spec, call: relax.Call) -> None:
        """From planes straight to what the first reader wants."""
        x, shape = call.args[0], shape_of(var)
        block = self.lowering.block_read(var)
        lies_in_planes = len(shape) == 4 and self._layout_of(x).block == 1
        if not lies_in_planes or block % QUAD:
            self._pointwise(var, spec, call, integer_glue.quantized, "quantize")
            return
        stored, source = self.lowering.given(x, (1,))
        layout = self.lowering.layout_for(var, block, "uint8")
        function = integer_glue.quantize_planes(spec, shape, source, layout)
        self._store(var, layout, function, "quantize", [stored])

    def _pointwise(self, var: relax.Var, spec, call: relax.Call, meaning: Callable, name: str) -> None:
        """In the layout of the first input; ordinary tensors of any rank stay such."""
        shape, function, sources = shape_of(var), partial(meaning, spec), list(call.args)
        dtypes = [dtype_of(one) for one in sources]
        if len(shape) != 4:
            kernel = integer_glue.elementwise(shape, dtypes, dtype_of(var), function)
            plain = [self.lowering.plain(one) for one in sources]
            self.lowering.bind(var, self.lowering.kernel_call(kernel, name, plain, var.ty))
            return
        block = self._layout_of(sources[0]).block
        types = [self.lowering.stored_dtype(one) for one in sources]
        given = [self.lowering.given(one, (block,), dtype=dtype) for one, dtype in zip(sources, types)]
        layout = self.lowering.layout_for(var, block, dtype_of(var))
        kernel = glue.pointwise(shape, [one for _, one in given], layout, function)
        self._store(var, layout, kernel, name, [stored for stored, _ in given])

    def _mean_pool(self, var: relax.Var, spec, call: relax.Call) -> None:
        x = call.args[0]
        stored, layout = self.lowering.given(x, (self._layout_of(x).block,), dtype="uint8")
        function = integer_glue.mean_pool(spec, shape_of(x), layout)
        self._store(var, PLAIN_BYTES, function, "mean_pool", [stored])

    def _layout_of(self, var: relax.Var) -> Layout:
        """The first layout in which the tensor exists."""
        return next(iter(self.lowering.stored.get(var, {Layout(dtype=dtype_of(var)): None})))

    def _store(self, var: relax.Var, layout: Layout, function, name: str, arguments: list) -> None:
        out = relax.TensorType(layout.physical(shape_of(var)), layout.element)
        self.lowering.store(var, layout, self.lowering.kernel_call(function, name, arguments, out))
