"""Resize and Upsample of ONNX, which count positions with the scales that are given.

TVM's operator counts with input size / output size. Where that is something else, each axis becomes a sum of a few
elements times constants.

References
----------
ONNX operators, Resize (versions 10 to 19) and Upsample (7 to 10): https://onnx.ai/onnx/operators/onnx__Resize.html
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import relax

from .onnx_node import OnnxNode

_FLOATS = ("float16", "float32", "float64")
_ONE, _HALF = np.float32(1), np.float32(0.5)


@dataclass(frozen=True)
class _Axis:
    """What becomes of one axis: its size before and after, and the scale that positions are counted with."""

    number: int
    size: int
    result: int
    scale: np.float32

    @property
    def has_exact_scale(self) -> bool:
        """Whether the scale is result / size."""
        return bool(np.isclose(float(self.scale) * self.size, self.result, rtol=1e-6, atol=0))


def convert_resize(node: OnnxNode) -> relax.Expr | None:
    """The node's result, or None for what TVM's converter gets right."""
    if node.operator == "Upsample" or node.opset < 11:
        node.attributes = {"mode": b"nearest", **node.attributes, "coordinate_transformation_mode": b"asymmetric"}
        axes = _of_scales(node, _early_scales(node), tuple(range(len(node.shape()))))
    else:
        axes = _axes(node)
    if node.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return _leave_crop_to_tvm(node, axes)
    changed = [axis for axis in axes if axis.result != axis.size or axis.scale != 1]
    _refuse_what_is_ambiguous(node, changed)
    if node.operator == "Resize" and node.opset >= 11 and _is_tvms(node, changed):
        return None
    result = node.inputs[0]
    for axis in changed:
        result = _along(node, result, axis)
    return result


def _early_scales(node: OnnxNode) -> np.ndarray:
    given = node.attributes.get("scales")
    scales = node.constant(1) if given is None else np.array(given, np.float32)
    if scales is None:
        raise node.refusal("scales that are no constants")
    return scales


def _axes(node: OnnxNode) -> list[_Axis]:
    rank = len(node.shape())
    numbers = tuple(axis % rank for axis in node.attributes.get("axes", range(rank)))
    scales, sizes = node.constant(2), node.constant(3)
    if scales is not None and scales.size:
        return _of_scales(node, scales, numbers)
    if sizes is None or len(sizes) != len(numbers):
        raise node.refusal("needs constant scales or sizes, one for each axis")
    return _of_sizes(node, [int(size) for size in sizes], numbers)


def _of_scales(node: OnnxNode, scales: np.ndarray, numbers: tuple[int, ...]) -> list[_Axis]:
    if len(scales) != len(numbers):
        raise node.refusal(f"{len(scales)} scales for {len(numbers)} axes")
    axes = []
    for number, scale in zip(numbers, scales.astype(np.float32)):
        size = node.shape()[number]
        axes.append(_Axis(number, size, int(np.floor(np.float32(size) * scale)), scale))
    return axes


def _of_sizes(node: OnnxNode, sizes: list[int], numbers: tuple[int, ...]) -> list[_Axis]:
    before = [node.shape()[number] for number in numbers]
    policy = node.text("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        scales = [np.float32(size) / np.float32(old) for size, old in zip(sizes, before)]
    else:
        choose = min if policy == "not_larger" else max
        scales = [np.float32(choose(size / old for size, old in zip(sizes, before)))] * len(sizes)
        sizes = [int(np.floor(old * float(scales[0]) + 0.5)) for old in before]
    return [_Axis(*one) for one in zip(numbers, before, sizes, scales)]


def _leave_crop_to_tvm(node: OnnxNode, axes: list[_Axis]) -> None:
    """Write roi and sizes for all axes, as TVM's converter wants them."""
    roi = node.constant(1)
    if roi is None or not all(axis.has_exact_scale for axis in axes):
        raise node.refusal("tf_crop_and_resize needs a constant roi and scales that give whole sizes")
    rank = len(node.shape())
    low, high, sizes = np.zeros(rank, np.float32), np.ones(rank, np.float32), np.array(node.shape())
    for index, axis in enumerate(axes):
        low[axis.number], high[axis.number] = roi[index], roi[index + len(axes)]
        sizes[axis.number] = axis.result
    if rank not in (3, 4, 5) or tuple(sizes[:2]) != node.shape()[:2] or low[:2].any() or (high[:2] != 1).any():
        raise node.refusal("coordinate_transformation_mode tf_crop_and_resize of other axes than those of an image")
    roi = relax.const(np.concatenate([low, high]), "float32")
    node.inputs[:] = [node.inputs[0], roi, None, relax.const(sizes, "int64")]


def _refuse_what_is_ambiguous(node: OnnxNode, axes: list[_Axis]) -> None:
    corners = node.text("coordinate_transformation_mode", "half_pixel") == "align_corners"
    if corners and not all(axis.has_exact_scale for axis in axes):
        raise node.refusal("coordinate_transformation_mode align_corners with scales that give no whole sizes")
    if node.attributes.get("antialias", 0) and any(axis.scale < 1 for axis in axes):
        raise node.refusal("attribute antialias = 1 where an axis becomes smaller")
    if any(axis.result < 1 for axis in axes):
        raise node.refusal("its result has no elements")


def _is_tvms(node: OnnxNode, axes: list[_Axis]) -> bool:
    """Whether TVM's operator counts as ONNX does, and takes these axes."""
    rank, coordinates = len(node.shape()), node.text("coordinate_transformation_mode", "half_pixel")
    is_image = rank in (3, 4, 5) and all(axis.number >= 2 for axis in axes) and "axes" not in node.attributes
    is_known = coordinates != "half_pixel_symmetric" and not (
        coordinates == "align_corners" and any(axis.result == 1 for axis in axes)
    )
    is_stretched = node.text("keep_aspect_ratio_policy", "stretch") == "stretch"
    if not (is_image and is_known and is_stretched and all(axis.has_exact_scale for axis in axes)):
        return False
    if node.text("mode", "nearest") == "nearest":  # between two pixels a rounding of the position decides
        return all(axis.result % axis.size == 0 or axis.size % axis.result == 0 for axis in axes)
    return node.dtype() in _FLOATS


def _along(node: OnnxNode, x: relax.Expr, axis: _Axis) -> relax.Var:
    """One axis resized."""
    if node.text("mode", "nearest") == "nearest":
        return _taken(node, x, axis, _nearest(node, axis))
    if node.dtype() not in _FLOATS:
        raise node.refusal(f"mode {node.text('mode', 'nearest')} of {node.dtype()}, accepted are {', '.join(_FLOATS)}")
    indices, weights = _taps(node, axis)
    total = None
    for index, weight in zip(indices, weights):
        shape = [-1 if number == axis.number else 1 for number in range(len(node.shape()))]
        factor = relax.const(weight.reshape(shape), node.dtype())
        part = node.emit(relax.op.multiply(_taken(node, x, axis, index), factor))
        total = part if total is None else node.emit(relax.op.add(total, part))
    return total


def _taken(node: OnnxNode, x: relax.Expr, axis: _Axis, index: np.ndarray) -> relax.Var:
    inside = np.clip(index, 0, axis.size - 1)
    return node.emit(relax.op.take(x, relax.const(inside, "int64"), axis.number, mode="clip"))


def _positions(node: OnnxNode, axis: _Axis) -> np.ndarray:
    """Where in the input each element of the result lies, float32 [result]."""
    x, scale = np.arange(axis.result, dtype=np.float32), axis.scale
    mode = node.text("coordinate_transformation_mode", "half_pixel")
    if mode == "asymmetric":
        return x / scale
    if mode == "align_corners":
        return x * np.float32(axis.size - 1) / np.float32(max(axis.result - 1, 1))
    if mode == "pytorch_half_pixel" and axis.result == 1:
        return np.zeros_like(x)
    if mode not in ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"):
        raise node.refusal(f"coordinate_transformation_mode {mode!r}")
    centers = (x + _HALF) / scale - _HALF
    if mode != "half_pixel_symmetric":
        return centers
    return centers + np.float32(axis.size) / 2 * (_ONE - np.float32(axis.result) / (scale * np.float32(axis.size)))


def _nearest(node: OnnxNode, axis: _Axis) -> np.ndarray:
    positions = _positions(node, axis)
    if node.operator == "Upsample" or node.opset < 11:
        return np.ceil(positions) if axis.scale < 1 else np.floor(positions)
    mode = node.text("nearest_mode", "round_prefer_floor")
    rounded = {
        "round_prefer_floor": np.ceil(positions - _HALF),
        "round_prefer_ceil": np.floor(positions + _HALF),
        "floor": np.floor(positions),
        "ceil": np.ceil(positions),
    }
    if mode not in rounded:
        raise node.refusal(f"nearest_mode {mode!r}, accepted are {', '.join(rounded)}")
    return rounded[mode]


def _taps(node: OnnxNode, axis: _Axis) -> tuple[np.ndarray, np.ndarray]:
    """(indices, weights), both [taps, result]; an index outside stands for the element at the border."""
    positions = _positions(node, axis).astype(np.float64)
    first = np.floor(positions)
    part = positions - first
    mode = node.text("mode", "nearest")
    if mode == "linear":
        offsets, weights = np.arange(2), np.stack([1 - part, part])
    elif mode == "cubic":
        offsets = np.arange(-1, 3)
        weights = _cubic(np.abs(part - offsets[:, None]), node.attributes.get("cubic_coeff_a", -0.75))
    else:
        raise node.refusal(f"mode {mode!r}, accepted are nearest, linear and cubic")
    indices = first + offsets[:, None]
    if node.attributes.get("exclude_outside", 0):
        weights = np.where((indices < 0) | (indices >= axis.size), 0, weights)
        weights = weights / weights.sum(0)
    return indices, weights


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel: 1 at distance 0, 0 at 1 and beyond 2."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, far)
