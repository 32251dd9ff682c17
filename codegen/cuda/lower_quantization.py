"""What lies between quantized layers, on tensors in the kernels' layout; TVM schedules it."""

from __future__ import annotations

from tvm import relax

from espalier.core import ir_names
from espalier.ir import integer_bodies
from espalier.ir.dataflow import shape_of

from .layout import Layout

ROWS_AND_COLUMNS = (1, 2)
"""Of a stored tensor."""


class QuantizedTensors:
    """Quantizing, dequantizing, means and sums of bytes stay in the layout of their inputs.

    lowering: the pass at work; it knows which tensor is stored how.
    """

    def __init__(self, lowering):
        self.lowering = lowering

    def lower(self, var: relax.Var, operator: str, spec, call: relax.Call) -> bool:
        """Lower the call bound to `var`; False if its inputs lie plain, or are filled up to other sizes than it is."""
        found = [self.lowering.stored_as(one) for one in call.args]
        out = Layout("float32" if operator == ir_names.DEQUANTIZE else "uint8")
        sizes = {Layout(dtype).channels(shape_of(var)[1]) for _, dtype in filter(None, found)}
        if not all(found) or sizes != {out.channels(shape_of(var)[1])}:
            return False
        given = {role: value for role, (value, _) in zip(spec.roles, found)}
        if operator == ir_names.MEAN_POOL:
            self.lowering.store(var, out, integer_bodies.mean_pool(spec, given, ROWS_AND_COLUMNS))
            return True
        if operator == ir_names.QUANTIZE:
            given["x"] = relax.op.astype(given["x"], "float32") if found[0][1] != "float32" else given["x"]
        body = {
            ir_names.QUANTIZE: integer_bodies.quantize,
            ir_names.DEQUANTIZE: integer_bodies.dequantize,
            ir_names.ADD: integer_bodies.add,
        }[operator]
        self.lowering.store(var, out, body(spec, given))
        return True
