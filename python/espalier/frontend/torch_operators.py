"""The importer of torch's operators: TVM's, with those mended that it converts to something else without a word.

A node whose type or shape comes out unlike torch's is refused, whoever converts it. Assertions inside of a network are
left out: an index that torch would refuse becomes the nearest one that there is. Where torch hands a NaN on, these drop
it: relu and what is made of it, clamp, maximum, minimum, max, min, argmax, argmin and pooling for the largest value.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable

import numpy as np
import torch
from torch import fx
from tvm import relax
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from ..core.errors import UnsupportedOpError

_RANDOM = ("bernoulli.p", "exponential.default", "randn.default", "randn_like.default")
"""TVM puts constants in their place."""

_OF_FLOATS = {
    "reciprocal": lambda x: relax.op.divide(relax.const(1, x.ty.dtype), x),
    "log2": lambda x: relax.op.divide(relax.op.log(x), relax.const(math.log(2), x.ty.dtype)),
    "log10": lambda x: relax.op.divide(relax.op.log(x), relax.const(math.log(10), x.ty.dtype)),
    "log1p": lambda x: relax.op.log(relax.op.add(x, relax.const(1, x.ty.dtype))),
    "expm1": lambda x: relax.op.subtract(relax.op.exp(x), relax.const(1, x.ty.dtype)),
}
"""Functions that TVM counts in the type of x, also where that is an integer."""

_OF_FLAGS = {
    relax.op.add: relax.op.logical_or,
    relax.op.multiply: relax.op.logical_and,
    relax.op.maximum: relax.op.logical_or,
    relax.op.minimum: relax.op.logical_and,
}
"""What arithmetic means for two values of type bool."""


class OperatorImporter(ExportedProgramImporter):
    """Converts the nodes of an exported program; raises UnsupportedOpError, naming the node, for what it cannot."""

    def create_convert_map(self) -> dict[str, Callable]:
        converters = super().create_convert_map()
        for name in (*_RANDOM, "cond"):
            del converters[name]
        converters |= dict.fromkeys(("mm.default", "bmm.default", "matmul.default"), self._matmul)
        for name, op in {
            "eq": self._binary_op(_equal, operator.eq),
            "ne": self._binary_op(_differ, operator.ne),
            "remainder": self._binary_op(self._remainder, operator.mod),
            "fmod": self._binary_op(relax.op.mod, math.fmod),
        }.items():
            converters |= {f"{name}.Scalar": op, f"{name}.Tensor": op}
        converters["native_dropout.default"] = self._native_dropout
        converters |= dict.fromkeys(("item.default", "_local_scalar_dense.default"), self._item)
        converters |= {f"{name}.default": self._unary_op(op) for name, op in _OF_FLOATS.items()}
        return {name: functools.partial(self._checked, converter) for name, converter in converters.items()}

    def _checked(self, convert: Callable, node: fx.Node) -> relax.Expr:
        """What `convert` makes of the node, if it has torch's type and shape."""
        result, wanted = convert(node), node.meta.get("val")
        if isinstance(result, relax.Call):
            result = self._emit(result)
        if not isinstance(wanted, torch.Tensor) or not isinstance(getattr(result, "ty", None), relax.TensorType):
            return result
        shape = None if result.ty.shape is None else list(result.ty.shape)
        static = shape is not None and all(isinstance(size, int) for size in wanted.shape)
        if str(result.ty.dtype) != _dtype(node) or (static and shape != list(wanted.shape)):
            of = node.args[0].target if node.target.__name__ == "getitem" else node.target
            raise _refusal(node, f"{of} that gives {_dtype(node)} {list(wanted.shape)} is not supported")
        return result

    @staticmethod
    def _has_assert_async(graph_module) -> bool:
        return False

    def _assert_async(self, node: fx.Node) -> relax.Expr:
        return relax.Tuple([])

    # Operands

    def _emit(self, value: relax.Expr) -> relax.Var:
        return self.block_builder.emit(value)

    def _operand(self, given, dtype: str) -> relax.Expr:
        """A node or a number as a tensor of this type."""
        value = self.env[given] if isinstance(given, fx.Node) else given
        if not isinstance(value, relax.Expr):
            return relax.const(value, dtype)
        return value if value.ty.dtype == dtype else self._emit(relax.op.astype(value, dtype))

    def _unary_op(self, op: Callable) -> Callable:
        def convert(node: fx.Node) -> relax.Var:
            x, dtype = self.env[node.args[0]], _dtype(node)
            return self._emit(op(self._operand(node.args[0], dtype) if "float" in dtype else x))

        return convert

    def _binary_op(self, relax_op: Callable, intrinsic_op: Callable) -> Callable:
        """Both operands get the type that torch counts in."""
        of_sizes = super()._binary_op(relax_op, intrinsic_op)

        def convert(node: fx.Node) -> relax.Expr:
            if not isinstance(node.meta["val"], torch.Tensor):
                return of_sizes(node)
            dtype = _dtype(node)
            if dtype == "bool":
                dtype = _name(torch.result_type(*(_value(argument) for argument in node.args[:2])))
            if relax_op is relax.op.power and "float" not in dtype:
                raise _refusal(node, "a power of integers whose exponent is no number is not supported")
            left, right = (self._operand(argument, dtype) for argument in node.args[:2])
            alpha = node.kwargs.get("alpha", 1)
            if alpha != 1:
                right = self._emit(relax.op.multiply(right, relax.const(alpha, dtype)))
            op = _OF_FLAGS.get(relax_op, relax_op) if dtype == "bool" else relax_op
            return self._emit(op(left, right))

        return convert

    def _matmul(self, node: fx.Node) -> relax.Var:
        dtype = _dtype(node)
        return self._emit(relax.op.matmul(*(self._operand(one, dtype) for one in node.args), out_dtype=dtype))

    # Arithmetic

    def _remainder(self, x: relax.Expr, y: relax.Expr) -> relax.Expr:
        """The remainder with the sign of y, exact as torch's: floor_mod of floats rounds the quotient first."""
        if "float" not in str(x.ty.dtype):
            return relax.op.floor_mod(x, y)
        rest = self._emit(relax.op.mod(x, y))
        return relax.op.where(self._is_below(rest, y), relax.op.add(rest, y), rest)

    def _is_below(self, rest: relax.Expr, y: relax.Expr) -> relax.Expr:
        """Whether the rest of a truncated division by y lies on the other side of zero than y."""
        zero = relax.const(0, y.ty.dtype)
        other_sign = relax.op.logical_xor(relax.op.less(rest, zero), relax.op.less(y, zero))
        return relax.op.logical_and(relax.op.logical_not(relax.op.equal(rest, zero)), other_sign)

    def _div(self, node: fx.Node) -> relax.Var:
        dtype, mode = _dtype(node), node.kwargs.get("rounding_mode")
        x, y = (self._operand(argument, dtype) for argument in node.args[:2])
        if mode == "floor":
            return self._floor_divide(x, y, dtype)
        quotient = relax.op.divide(x, y)
        return self._emit(relax.op.trunc(quotient) if mode == "trunc" and "float" in dtype else quotient)

    def _floor_divide(self, x: relax.Expr, y: relax.Expr, dtype: str) -> relax.Var:
        """Exact as torch's: the quotient of floats is rounded only after the remainder was taken off."""
        if "float" not in dtype:
            return self._emit(relax.op.floor_divide(x, y))
        rest = self._emit(relax.op.mod(x, y))
        quotient = self._emit(relax.op.round(relax.op.divide(relax.op.subtract(x, rest), y)))
        below = relax.op.subtract(quotient, relax.const(1, dtype))
        floor = self._emit(relax.op.where(self._is_below(rest, y), below, quotient))
        return self._emit(relax.op.where(relax.op.equal(y, relax.const(0, dtype)), relax.op.divide(x, y), floor))

    def _where(self, node: fx.Node) -> relax.Var:
        dtype = _dtype(node)
        x, y = (self._operand(argument, dtype) for argument in node.args[1:])
        return self._emit(relax.op.where(self.env[node.args[0]], x, y))

    def _clamp(self, node: fx.Node) -> relax.Var:
        dtype = _dtype(node)
        x = self._operand(node.args[0], dtype)
        low, high = [*node.args[1:], None, None][:2]
        numbers = [bound for bound in (low, high) if bound is not None and not isinstance(bound, fx.Node)]
        if "float" in dtype and numbers and len(numbers) == 2 - (low, high).count(None):
            low, high = (-np.inf if low is None else low), (np.inf if high is None else high)
            return self._emit(relax.op.clip(x, min(low, high), high))
        if low is not None:
            x = self._emit(relax.op.maximum(x, self._operand(low, dtype)))
        return x if high is None else self._emit(relax.op.minimum(x, self._operand(high, dtype)))

    def _elu(self, node: fx.Node) -> relax.Var:
        alpha, scale, input_scale = [*node.args[1:], *(1.0, 1.0, 1.0)[len(node.args) - 1 :]]
        if scale == input_scale == 1:
            return super()._elu(node)
        dtype = _dtype(node)
        x = self.env[node.args[0]]
        inner = relax.op.multiply(relax.op.minimum(x, relax.const(0, dtype)), relax.const(input_scale, dtype))
        negative = relax.op.multiply(
            relax.op.subtract(relax.op.exp(inner), relax.const(1, dtype)), relax.const(alpha, dtype)
        )
        return self._emit(relax.op.multiply(relax.op.add(relax.op.nn.relu(x), negative), relax.const(scale, dtype)))

    def _item(self, node: fx.Node) -> relax.Expr:
        raise _refusal(node, "a number taken out of a tensor is not supported (item)")

    # Layers

    def _native_dropout(self, node: fx.Node) -> relax.Expr:
        raise _refusal(node, "dropout is not supported in training; export the module after .eval()")

    def _batch_norm_legit_functional(self, node: fx.Node) -> relax.Expr:
        raise _refusal(node, "batch norm is not supported in training; export the module after .eval()")

    def _native_group_norm(self, node: fx.Node) -> relax.Var:
        x, weight, bias, _, channels, _, groups, eps = node.args
        dtype = _dtype(node.args[0])
        gamma = relax.const(np.ones(channels), dtype) if weight is None else self.env[weight]
        beta = relax.const(np.zeros(channels), dtype) if bias is None else self.env[bias]
        axes = list(range(2, node.args[0].meta["val"].ndim))
        return self._emit(relax.op.nn.group_norm(self.env[x], gamma, beta, groups, 1, axes, eps))

    def _avg_pool2d(self, node: fx.Node) -> relax.Var:
        _refuse_divisor(node)
        return super()._avg_pool2d(node)

    def _avg_pool3d(self, node: fx.Node) -> relax.Var:
        _refuse_divisor(node)
        return super()._avg_pool3d(node)

    def _max_pool2d_with_indices(self, node: fx.Node) -> relax.Var:
        return self._max_pool_with_indices(node, self._max_pool2d_impl)

    def _max_pool3d_with_indices(self, node: fx.Node) -> relax.Var:
        return self._max_pool_with_indices(node, self._max_pool3d_impl)

    def _max_pool_with_indices(self, node: fx.Node, pool: Callable) -> relax.Expr:
        if any(user.args[1] == 1 and user.users for user in node.users):
            raise _refusal(node, "the indices of the largest values are not supported (return_indices)")
        x, kernel, *options = node.args
        stride, *others = options or [None]
        return relax.Tuple([pool(self.env[x], kernel, stride or kernel, *others)])

    def _upsample_nearest2d(self, node: fx.Node) -> relax.Var:
        x, _, factors = node.args
        sizes = _spatial(x), _spatial(node)
        if all(new == size * (new // size) for size, new in zip(*sizes)) and _is_quotient(factors, *sizes):
            return super()._upsample_nearest2d(node)
        return self._resized(node, torch.ops.aten.upsample_nearest2d.default, (), factors)

    def _upsample_bilinear2d(self, node: fx.Node) -> relax.Var:
        x, _, align_corners, factors = node.args
        sizes = _spatial(x), _spatial(node)
        if (1 not in sizes[1]) if align_corners else _is_quotient(factors, *sizes):
            return super()._upsample_bilinear2d(node)
        return self._resized(node, torch.ops.aten.upsample_bilinear2d.default, (align_corners,), factors)

    def _upsample_bilinear2d_aa(self, node: fx.Node) -> relax.Var:
        align_corners, *factors = [*node.args[2:], None, None][:3]
        return self._resized(node, torch.ops.aten._upsample_bilinear2d_aa.default, (align_corners,), factors)

    def _resized(self, node: fx.Node, operator: Callable, options: tuple, factors) -> relax.Var:
        """Each axis by the weights that torch itself gives its points: it resizes the unit vectors of that axis."""
        x, dtype = self.env[node.args[0]], _dtype(node)
        for axis, (size, new) in enumerate(zip(_spatial(node.args[0]), _spatial(node))):
            factor = factors[axis] if factors else None
            weights = operator(torch.eye(size)[None, None], (size, new), *options, None, factor)[0, 0].T.numpy()
            x = self._weighted(x, 2 + axis, weights, dtype)
        return x

    def _weighted(self, x: relax.Expr, axis: int, weights: np.ndarray, dtype: str) -> relax.Var:
        """weights [new, old] times an axis of x [N, C, H, W], as a sum over the points with weights that are not 0."""
        count = max(1, int((weights != 0).sum(1).max()))
        points = np.sort(np.argsort(weights == 0, axis=1, kind="stable")[:, :count], axis=1)
        total = None
        for taken in points.T:
            part = self._emit(relax.op.take(x, relax.const(taken, "int64"), axis=axis))
            factor = weights[np.arange(len(taken)), taken]
            if not (factor == 1).all():
                part = relax.op.multiply(part, relax.const(factor.reshape([-1] + [1] * (3 - axis)), dtype))
            total = part if total is None else relax.op.add(total, part)
        return self._emit(total)

    def _grid_sampler_2d(self, node: fx.Node) -> relax.Var:
        x, grid = (self.env[argument] for argument in node.args[:2])
        mode, padding, align_corners = node.args[2:]
        by_coordinate = self._emit(relax.op.permute_dims(grid, [0, 3, 1, 2]))
        return self._emit(
            relax.op.image.grid_sample(
                x,
                by_coordinate,
                method=("bilinear", "nearest", "bicubic")[mode],
                padding_mode=("zeros", "border", "reflection")[padding],
                align_corners=align_corners,
            )
        )

    # Reductions

    def _any(self, node: fx.Node) -> relax.Var:
        axes, keepdims = [*node.args[1:], *(None, False)[len(node.args) - 1 :]]
        flags = relax.op.astype(self._operand(node.args[0], "bool"), "int8")
        return self._emit(relax.op.astype(relax.op.max(flags, axes, keepdims), "bool"))

    def _max_dim(self, node: fx.Node) -> relax.Expr:
        x = self.env[node.args[0]]
        axis, keepdims = [*node.args[1:], False][:2]
        return relax.Tuple(
            [self._emit(relax.op.max(x, axis, keepdims)), self._emit(relax.op.argmax(x, axis, keepdims))]
        )

    def _prod(self, node: fx.Node) -> relax.Var:
        return self._emit(relax.op.prod(self._operand(node.args[0], _dtype(node))))

    def _norm(self, node: fx.Node) -> relax.Var:
        x, order, axes, keepdims = [*node.args, *(None, 2, None, False)[len(node.args) :]]
        if order != 0:
            return super()._norm(node)
        counted = _differ(self.env[x], relax.const(0, _dtype(x)))
        return self._emit(relax.op.sum(relax.op.astype(counted, _dtype(node)), axes, keepdims))

    def _cumsum(self, node: fx.Node) -> relax.Var:
        return self._emit(relax.op.cumsum(self.env[node.args[0]], node.args[1], _dtype(node)))

    def _cumprod(self, node: fx.Node) -> relax.Var:
        return self._emit(relax.op.cumprod(self.env[node.args[0]], node.args[1], _dtype(node)))

    # Places

    def _arange(self, node: fx.Node) -> relax.Var:
        return self._emit(relax.const(torch.arange(*node.args, dtype=node.meta["val"].dtype).numpy(), _dtype(node)))

    def _cat(self, node: fx.Node) -> relax.Var:
        tensors, axis = [*node.args, 0][:2]
        return self._emit(relax.op.concat([self._operand(tensor, _dtype(node)) for tensor in tensors], axis))

    def _copy_(self, node: fx.Node) -> relax.Var:
        source = self._operand(node.args[1], _dtype(node))
        return self._emit(relax.op.broadcast_to(source, tuple(node.meta["val"].shape)))

    def _select(self, node: fx.Node) -> relax.Var:
        x, axis, index = node.args
        index = index % x.meta["val"].shape[axis]
        return self._emit(relax.op.take(self.env[x], relax.const(index, "int64"), axis))

    def _index_select(self, node: fx.Node) -> relax.Var:
        x, axis, index = node.args
        place = relax.op.reshape(self._inside(self.env[index], _size(x, axis)), (-1,))
        return self._emit(relax.op.take(self.env[x], place, axis))

    def _embedding_impl(self, x: relax.Expr, weight: relax.Expr) -> relax.Var:
        return self._emit(relax.op.take(weight, self._inside(x, int(weight.ty.shape[0])), 0))

    def _gather(self, node: fx.Node) -> relax.Var:
        x, axis, index = node.args[:3]
        return self._emit(relax.op.gather_elements(self.env[x], self._inside(self.env[index], _size(x, axis)), axis))

    def _inside(self, index: relax.Expr, size: int) -> relax.Var:
        """Indices beyond an axis become its first or last one, so that no memory of others is read or written."""
        low, high = relax.const(0, index.ty.dtype), relax.const(size - 1, index.ty.dtype)
        return self._emit(relax.op.minimum(relax.op.maximum(index, low), high))

    def _from_the_start(self, index: fx.Node, size: int) -> relax.Expr:
        """An index tensor whose negative values, which count from the end, are counted from the start."""
        given, dtype = self.env[index], _dtype(index)
        negative = relax.op.less(given, relax.const(0, dtype))
        counted = self._emit(relax.op.where(negative, relax.op.add(given, relax.const(size, dtype)), given))
        return self._operand(self._inside(counted, size), "int64")

    def _index_tensor(self, node: fx.Node) -> relax.Var:
        x, indices = node.args
        if any(_is_mask(index) for index in indices):
            raise _refusal(node, "an index of flags is not supported: the size of its result depends on the data")
        return self._indexed(self.env[x], list(x.meta["val"].shape), indices)

    def _indexed(self, x: relax.Expr, shape: list[int], indices) -> relax.Var:
        """The indexed axes become one, indexed by the place in it; it comes first unless they are neighbours."""
        axes = [axis for axis, index in enumerate(indices) if index is not None]
        place = None
        for axis in axes:
            own, size = self._from_the_start(indices[axis], shape[axis]), relax.const(shape[axis], "int64")
            place = own if place is None else self._emit(relax.op.add(relax.op.multiply(place, size), own))
        first = axes[0]
        if axes[-1] - first >= len(axes):
            order = [*axes, *(axis for axis in range(len(shape)) if axis not in axes)]
            x, shape, first = self._emit(relax.op.permute_dims(x, order)), [shape[axis] for axis in order], 0
        if len(axes) > 1:
            joined = math.prod(shape[first : first + len(axes)])
            x = self._emit(relax.op.reshape(x, [*shape[:first], joined, *shape[first + len(axes) :]]))
        return self._emit(relax.op.take(x, place, first))

    def _index_put(self, node: fx.Node) -> relax.Var:
        """Values are written to the places in the flat tensor that the same index reads from a tensor of places."""
        x, indices, values, accumulate = [*node.args, False][:4]
        shape, masks = list(x.meta["val"].shape), [index for index in indices if _is_mask(index)]
        if masks and (len(indices) > 1 or values.meta["val"].numel() > 1 or accumulate):
            raise _refusal(node, "writing several values by an index of flags is not supported")
        if masks:
            flags = list(masks[0].meta["val"].shape)
            mask = relax.op.reshape(self.env[masks[0]], flags + [1] * (len(shape) - len(flags)))
            return self._emit(relax.op.where(mask, relax.op.reshape(self.env[values], ()), self.env[x]))
        places = relax.const(np.arange(math.prod(shape)).reshape(shape), "int64")
        place = self._indexed(places, shape, indices)
        written = self._emit(relax.op.broadcast_to(self.env[values], place.ty.shape))
        flat, at, written = (self._emit(relax.op.reshape(one, (-1,))) for one in (self.env[x], place, written))
        put = self._emit(relax.op.index_put(flat, relax.Tuple([at]), written, accumulate))
        return self._emit(relax.op.reshape(put, shape))

    def _scatter(self, node: fx.Node) -> relax.Var:
        x, axis, index, source = node.args
        ends = list(index.meta["val"].shape)
        used = self._emit(relax.op.strided_slice(self.env[source], list(range(len(ends))), [0] * len(ends), ends))
        return self._scattered(x, axis, index, used)

    def _scatter_value(self, node: fx.Node) -> relax.Var:
        x, axis, index, value = node.args
        written = relax.op.full(self.env[index].ty.shape, relax.const(value, _dtype(x)))
        return self._scattered(x, axis, index, self._emit(written))

    def _scattered(self, x: fx.Node, axis: int, index: fx.Node, written: relax.Expr) -> relax.Var:
        place = self._inside(self.env[index], _size(x, axis))
        return self._emit(relax.op.scatter_elements(self.env[x], place, written, axis))

    def _as_strided(self, node: fx.Node) -> relax.Var:
        x, size, stride, offset = [*node.args, None][:4]
        value = x.meta["val"]
        place = np.full((), offset or 0)
        for count, step in zip(size, stride):
            place = place[..., None] + np.arange(count) * step
        if not value.is_contiguous() or value.storage_offset() or place.max(initial=0) >= value.numel():
            raise _refusal(node, "as_strided of a part or of another order of a tensor is not supported")
        flat = self._emit(relax.op.reshape(self.env[x], (-1,)))
        return self._emit(relax.op.take(flat, relax.const(place, "int64"), 0))


def _equal(x: relax.Expr, y: relax.Expr) -> relax.Expr:
    """A value equals itself unless it is NaN: TVM simplifies x == x to true."""
    if x.same_as(y) and "float" in str(x.ty.dtype):
        return relax.op.logical_not(relax.op.isnan(x))
    return relax.op.equal(x, y)


def _differ(x: relax.Expr, y: relax.Expr) -> relax.Expr:
    """NaN differs from everything: TVM's not_equal says that it differs from nothing."""
    return relax.op.logical_not(_equal(x, y))


def _value(argument):
    return argument.meta["val"] if isinstance(argument, fx.Node) else argument


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dtype(node: fx.Node) -> str:
    """The name of the type that a node gives: of its first result if it has several."""
    value = node.meta["val"]
    return _name((value if isinstance(value, torch.Tensor) else value[0]).dtype)


def _size(node: fx.Node, axis: int) -> int:
    return node.meta["val"].shape[axis]


def _spatial(node: fx.Node) -> list[int]:
    """Height and width of an image [N, C, H, W]."""
    return list(node.meta["val"].shape[2:])


def _is_quotient(factors, sizes: list[int], new_sizes: list[int]) -> bool:
    """Whether the factors, which torch counts with, are those between the sizes, which TVM counts with."""
    return not factors or all(
        abs(new - factor * old) < 1e-6 * new for factor, old, new in zip(factors, sizes, new_sizes)
    )


def _refuse_divisor(node: fx.Node) -> None:
    if len(node.args) > 6 and node.args[6] is not None:
        raise _refusal(node, f"divisor_override={node.args[6]} of average pooling is not supported")


def _is_mask(index: fx.Node | None) -> bool:
    return index is not None and _dtype(index) in ("bool", "uint8")


def _refusal(node: fx.Node, reason: str) -> UnsupportedOpError:
    return UnsupportedOpError(f"node {node.name}: {reason}")
