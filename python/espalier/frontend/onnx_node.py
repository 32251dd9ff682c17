"""A node of an ONNX graph as the converters of operators see it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from ..core.errors import UnsupportedOpError


@dataclass
class OnnxNode:
    """One node while it is imported.

    inputs: expressions, None for an input that is left out. attributes: values by name, as TVM's importer parses them.
    Both may be changed before TVM's converter sees them. opset: of the standard operators.
    """

    builder: relax.BlockBuilder
    operator: str
    inputs: list
    attributes: dict
    opset: int

    @property
    def name(self) -> str:
        """The node's name, for errors."""
        return self.attributes["tvm_custom"]["name"]

    @property
    def outputs(self) -> int:
        """How many results are asked for."""
        return self.attributes["tvm_custom"]["num_outputs"]

    def refusal(self, what: str) -> UnsupportedOpError:
        """An error that names the node, to be raised."""
        return UnsupportedOpError(f"node {self.name!r} ({self.operator}): {what}")

    def input(self, index: int):
        """The expression of an input, None if it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int) -> np.ndarray | None:
        """The value of an input, None if it is left out or known only when the model runs."""
        value = self.input(index)
        if isinstance(value, tvm.ir.GenericConst):
            return value.value.numpy()
        if isinstance(value, relax.ShapeExpr) and all(isinstance(size, tvm.tirx.IntImm) for size in value):
            return np.array([int(size) for size in value], "int64")
        return None

    def is_tensor(self, index: int) -> bool:
        """Whether an input is a tensor of a static shape, not a shape or a number that the import computes with."""
        ty = getattr(self.input(index), "ty", None)
        return isinstance(ty, relax.TensorType) and isinstance(ty.shape, relax.ShapeExpr)

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """The static shape of an input."""
        return tuple(int(size) for size in self.inputs[index].ty.shape)

    def dtype(self, index: int = 0) -> str:
        """The type of an input's numbers."""
        return str(self.inputs[index].ty.dtype)

    def text(self, key: str, default: str) -> str:
        """An attribute that is a text."""
        value = self.attributes.get(key, default)
        return value.decode() if isinstance(value, bytes) else value

    def cast(self, index: int, dtype: str) -> relax.Expr:
        """An input as numbers of another type."""
        known = self.constant(index)
        if known is not None:
            return relax.const(known.astype(dtype), dtype)
        given = self.inputs[index]
        return given if self.dtype(index) == dtype else self.emit(relax.op.astype(given, dtype))

    def emit(self, expression: relax.Expr) -> relax.Var:
        """Bind an expression to a variable."""
        return self.builder.emit(expression)
