"""Stock Relax operators that have a kernel of ours on stored layouts; the others run on plain tensors."""

from __future__ import annotations

from tvm import relax

from espalier.ir.dataflow import dtype_of, shape_of

from .kernels import glue
from .kernels.glue import Pool
from .kernels.shortcut import padded_channels, strided_pixels
from .layout import Layout


class StockKernels:
    """Lowers pooling, spatial means, adds, relu, concatenation and strided slices where the input lies in blocks.

    lowering: the pass at work; it knows which tensor is stored how.
    """

    def __init__(self, lowering):
        self.lowering = lowering

    def lower(self, var: relax.Var, call: relax.Call | None) -> bool:
        """Lower the call bound to `var`; False if it has no kernel here."""
        if call is None or not isinstance(call.args[0], (relax.Var, relax.Tuple)):
            return False
        handler = {
            "relax.nn.max_pool2d": self._pool,
            "relax.nn.avg_pool2d": self._pool,
            "relax.nn.adaptive_avg_pool2d": self._global_pool,
            "relax.mean": self._mean,
            "relax.add": self._add,
            "relax.nn.relu": self._relu,
            "relax.concat": self._concat,
            "relax.strided_slice": self._strided_slice,
            "relax.nn.pad": self._pad,
        }.get(call.op.name)
        return bool(handler and handler(var, call))

    def _is_stored(self, expr: relax.Expr, *dtypes: str) -> bool:
        known = isinstance(expr, relax.Var) and expr in self.lowering.stored
        return known and dtype_of(expr) in (dtypes or ("float32",))

    def _any(self, var: relax.Var) -> tuple[relax.Expr, Layout]:
        """The tensor in the first layout in which it exists."""
        layout = next(iter(self.lowering.stored[var]))
        return self.lowering.stored[var][layout], layout

    def _finish(self, var: relax.Var, layout: Layout, function, name: str, arguments: list) -> bool:
        out = relax.TensorType(layout.physical(shape_of(var)), layout.element)
        self.lowering.store(var, layout, self.lowering.kernel_call(function, name, arguments, out))
        return True

    def _pool(self, var: relax.Var, call: relax.Call) -> bool:
        attrs, source = call.attrs, call.args[0]
        dtypes = ("float32", "uint8") if call.op.name == "relax.nn.max_pool2d" else ("float32",)
        if not self._is_stored(source, *dtypes) or str(attrs.layout) != "NCHW":
            return False
        x, layout = self._any(source)
        pool = Pool(
            "max" if call.op.name == "relax.nn.max_pool2d" else "avg",
            tuple(int(v) for v in attrs.pool_size),
            tuple(int(v) for v in attrs.strides),
            tuple(int(v) for v in attrs.padding),
            tuple(int(v) for v in attrs.dilation),
            bool(attrs.count_include_pad),
        )
        dtype = layout.dtype if pool.kind == "max" else "float32"
        out_layout = self.lowering.layout_for(var, layout.block, dtype)
        function = glue.pool2d(pool, shape_of(source), shape_of(var), layout, out_layout)
        return self._finish(var, out_layout, function, f"{pool.kind}_pool", [x])

    def _global_pool(self, var: relax.Var, call: relax.Call) -> bool:
        return shape_of(var)[2:] == (1, 1) and self._spatial_mean(var, call)

    def _mean(self, var: relax.Var, call: relax.Call) -> bool:
        axes = call.attrs.axis
        if axes is None or len(shape_of(call.args[0])) != 4:
            return False
        return sorted(int(axis) % 4 for axis in axes) == [2, 3] and self._spatial_mean(var, call)

    def _spatial_mean(self, var: relax.Var, call: relax.Call) -> bool:
        source = call.args[0]
        if not self._is_stored(source):
            return False
        x, layout = self._any(source)
        shape = shape_of(source)
        function = glue.spatial_mean(shape, layout)
        flat = relax.TensorType(shape[:2], "float32")
        mean = self.lowering.kernel_call(function, "spatial_mean", [x], flat)
        if len(shape_of(var)) == 4:
            mean = relax.op.reshape(self.lowering.builder_.emit(mean), shape_of(var))
        self.lowering.bind(var, mean)
        return True

    def _add(self, var: relax.Var, call: relax.Call) -> bool:
        left, right = call.args
        if not (self._is_stored(left) and self._is_stored(right)) or shape_of(left) != shape_of(right):
            return False
        return self._pointwise(var, [left, right], glue.add, "add", "float32")

    def _relu(self, var: relax.Var, call: relax.Call) -> bool:
        x = call.args[0]
        return self._is_stored(x) and self._pointwise(var, [x], glue.relu, "relu", self.lowering.stored_dtype(x))

    def _strided_slice(self, var: relax.Var, call: relax.Call) -> bool:
        """Pixels a stride apart; a slice of channels is left to TVM."""
        source, shape = call.args[0], shape_of(var)
        if not self._is_stored(source, "float32", "uint8") or len(shape) != 4 or len(call.args) < 5:
            return False
        axes, begin, _, strides = ([int(one) for one in field] for field in call.args[1:5])
        if not set(axes) <= {2, 3} or min(begin) < 0 or min(strides) < 1:
            return False
        first, steps = dict(zip(axes, begin)), dict(zip(axes, strides))
        corner, apart = (first.get(2, 0), first.get(3, 0)), (steps.get(2, 1), steps.get(3, 1))
        x, source_layout = self._any(source)
        layout = self.lowering.layout_for(var, source_layout.block, source_layout.dtype)
        function = strided_pixels(shape_of(source), shape, corner, apart, source_layout, layout)
        return self._finish(var, layout, function, "strided_slice", [x])

    def _pad(self, var: relax.Var, call: relax.Call) -> bool:
        """Constant channels around the others; other paddings are left to TVM."""
        source, shape = call.args[0], shape_of(var)
        if not self._is_stored(source, "float32", "uint8") or len(shape) != 4:
            return False
        width = [int(one) for one in call.attrs.pad_width]
        if str(call.attrs.pad_mode) != "constant" or any(width[:2] + width[4:]) or min(width[2:4]) < 0:
            return False
        value = float(call.attrs.pad_value)
        x, source_layout = self._any(source)
        is_exact = source_layout.dtype != "bfloat16" or value == 0
        layout = self.lowering.layout_for(var, source_layout.block, source_layout.dtype if is_exact else "float32")
        number = int(value) if layout.dtype == "uint8" else value
        function = padded_channels(shape_of(source), shape, width[2], number, source_layout, layout)
        return self._finish(var, layout, function, "pad", [x])

    def _pointwise(self, var: relax.Var, sources: list[relax.Var], function, name: str, dtype: str) -> bool:
        block = self._any(sources[0])[1].block
        given = self._as_written(sources, block)
        layout = self.lowering.layout_for(var, block, dtype)
        kernel = glue.pointwise(shape_of(var), [one for _, one in given], layout, function)
        return self._finish(var, layout, kernel, name, [x for x, _ in given])

    def _as_written(self, sources: list[relax.Var], block: int) -> list[tuple[relax.Expr, Layout]]:
        """Each tensor in blocks of this size, in the type that holds its values exactly."""
        return [self.lowering.given(one, (block,), dtype=self.lowering.stored_dtype(one)) for one in sources]

    def _concat(self, var: relax.Var, call: relax.Call) -> bool:
        parts = list(call.args[0].fields) if isinstance(call.args[0], relax.Tuple) else []
        if int(call.attrs.axis) != 1 or not parts or not all(self._is_stored(one, dtype_of(var)) for one in parts):
            return False
        block = self._any(parts[0])[1].block
        shapes = [shape_of(part) for part in parts]
        if len(shapes[0]) != 4 or any(shape[1] % block for shape in shapes[:-1]):
            return False
        given = self._as_written(parts, block)
        is_exact = all(one.dtype == given[0][1].dtype for _, one in given)
        layout = self.lowering.layout_for(var, block, given[0][1].dtype if is_exact else "float32")
        function = glue.concat_channels(shapes, [one for _, one in given], shape_of(var), layout)
        return self._finish(var, layout, function, "concat", [x for x, _ in given])
