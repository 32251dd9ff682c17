"""Stock Relax operators on tensors in the kernels' layout; TVM schedules them, and those that are left."""

from __future__ import annotations

from tvm import relax

from espalier.ir.dataflow import shape_of

from .layout import Layout


class StockOperators:
    """Pooling, spatial means, adds, relu and concatenation stay in the layout of their inputs.

    lowering: the pass at work; it knows which tensor is stored how.
    """

    def __init__(self, lowering):
        self.lowering = lowering

    def lower(self, var: relax.Var, call: relax.Call | None) -> bool:
        """Lower the call bound to `var`; False if it runs on plain tensors."""
        handler = call is not None and {
            "relax.nn.max_pool2d": self._max_pool,
            "relax.nn.adaptive_avg_pool2d": self._global_pool,
            "relax.mean": self._mean,
            "relax.add": self._add,
            "relax.nn.relu": self._relu,
            "relax.concat": self._concat,
        }.get(call.op.name)
        return bool(handler and handler(var, call))

    def _max_pool(self, var: relax.Var, call: relax.Call) -> bool:
        found, attrs = self.lowering.stored_as(call.args[0]), call.attrs
        if not found or str(attrs.layout) != "NCHW":
            return False
        fields = {
            name: [int(one) for one in getattr(attrs, name)] for name in ("pool_size", "strides", "padding", "dilation")
        }
        value = relax.op.nn.max_pool2d(found[0], **fields, ceil_mode=bool(attrs.ceil_mode), layout="NHWC")
        self.lowering.store(var, Layout(found[1]), value)
        return True

    def _global_pool(self, var: relax.Var, call: relax.Call) -> bool:
        return shape_of(var)[2:] == (1, 1) and self._spatial_mean(var, call)

    def _mean(self, var: relax.Var, call: relax.Call) -> bool:
        axes = call.attrs.axis
        if axes is None or len(shape_of(call.args[0])) != 4:
            return False
        return sorted(int(axis) % 4 for axis in axes) == [2, 3] and self._spatial_mean(var, call)

    def _spatial_mean(self, var: relax.Var, call: relax.Call) -> bool:
        found = self._real(call.args[0])
        if not found:
            return False
        mean = relax.op.mean(self._as_float32(*found), axis=[1, 2], keepdims=True)
        self.lowering.store(var, Layout("float32"), mean)
        return True

    def _add(self, var: relax.Var, call: relax.Call) -> bool:
        left, right = (self._real(one) for one in call.args)
        if not (left and right) or shape_of(call.args[0]) != shape_of(call.args[1]):
            return False
        self.lowering.store(var, Layout("float32"), relax.op.add(self._as_float32(*left), self._as_float32(*right)))
        return True

    def _relu(self, var: relax.Var, call: relax.Call) -> bool:
        found = self._real(call.args[0])
        if found:
            self.lowering.store(var, Layout(found[1]), relax.op.nn.relu(found[0]))
        return bool(found)

    def _concat(self, var: relax.Var, call: relax.Call) -> bool:
        parts = list(call.args[0].fields) if isinstance(call.args[0], relax.Tuple) else []
        found = [self.lowering.stored_as(one) for one in parts]
        if int(call.attrs.axis) != 1 or not parts or not all(found):
            return False
        if any(Layout(dtype).channels(shape_of(one)[1]) != shape_of(one)[1] for one, (_, dtype) in zip(parts, found)):
            return False
        same = len({dtype for _, dtype in found}) == 1
        values = [value if same else self._as_float32(value, dtype) for value, dtype in found]
        self.lowering.store(var, Layout(found[0][1] if same else "float32"), relax.op.concat(values, axis=3))
        return True

    def _real(self, expr: relax.Expr) -> tuple[relax.Expr, str] | None:
        """A stored tensor of real numbers and its element type; None for others."""
        found = self.lowering.stored_as(expr)
        return found if found and found[1] != "uint8" else None

    @staticmethod
    def _as_float32(value: relax.Expr, dtype: str) -> relax.Expr:
        return value if dtype == "float32" else relax.op.astype(value, "float32")
