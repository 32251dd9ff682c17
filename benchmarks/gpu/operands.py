"""Random operands of a case, what it should give, and a launch of its kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from . import timing

TOLERANCE = {"float16": 5e-3, "tfloat32": 5e-3, "float32": 2e-5, "int8": 0.0}
"""Of the norm of the error over that of the reference; integers are exact."""
CHUNK_BYTES = 16
DRAWN = 32
"""Samples that are drawn; in a larger batch they come again, each time with lists of their own."""
NO_BYTE = 201
"""What a byte of the output holds before the kernel runs; numbers are NaN."""


@dataclass(frozen=True)
class Sample:
    """Fresh random data of a case. made: in the order of the kernel's arguments. expected: float64 [N, H, W, C].

    written: where the kernel writes; all of it without lists.
    """

    made: dict[str, np.ndarray]
    expected: np.ndarray
    written: np.ndarray


def random_lists(random: np.random.Generator, batch: int, groups: int, count: int) -> np.ndarray:
    """int32 [batch, count], ascending."""
    return np.sort(random.random((batch, groups)).argsort(1)[:, :count], 1).astype(np.int32)


def mask_of(lists: np.ndarray, groups: int, granularity: int) -> np.ndarray:
    """bool [N, channels], whether a channel is listed."""
    mask = np.zeros((len(lists), groups), bool)
    np.put_along_axis(mask, lists, True, 1)
    return mask.repeat(granularity, 1)


def operands(case: dict, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Fresh random arrays for a case, in the order of the kernel's arguments; what rests is no zero."""
    is_bytes = case["format"] == "int8"
    made = byte_operands(case, random) if is_bytes else real_operands(case, random)
    batch, g, channels = case["batch"], case["granularity"], case["y"][3]
    if case["kept"]:
        active = random_lists(random, batch, case["channels_in"] // g, case["kept"][0])
        winners = random_lists(random, batch, channels // g, case["kept"][1])
        pi = mask_of(winners, channels // g, g) * (random.random((batch, channels), np.float32) + 0.5)
        made["pi"] = (pi * 100).astype(np.uint8) if is_bytes else pi.astype(np.float32)
        made |= {"winners": winners, "active": active}
    elif is_bytes and case["arithmetic"]["x_zero"] and case["padding"]:
        made["outside"] = np.full(CHUNK_BYTES, case["arithmetic"]["x_zero"], np.uint8)
    return made


def real_operands(case: dict, random: np.random.Generator) -> dict[str, np.ndarray]:
    """x, weight and bias."""
    batch, *pixels = case["x"]
    x = random.standard_normal((min(batch, DRAWN), *pixels), np.float32).astype(case["dtype"])
    x[..., case["channels_in"] :] = 0
    weight = random.standard_normal(case["weight"], np.float32) / math.prod(case["weight"][1:]) ** 0.5
    bias = random.standard_normal(case["y"][3], np.float32)
    return {"x": np.resize(x, case["x"]), "weight": weight.astype(case["dtype"]), "bias": bias}


def byte_operands(case: dict, random: np.random.Generator) -> dict[str, np.ndarray]:
    """x, weight, and what follows the sums: the bias, the zero point folded in, and a factor for each channel."""
    one, channels = case["arithmetic"], case["y"][3]
    x = random.integers(0, 256, case["x"], np.uint8)
    weight = random.integers(-128, 128, case["weight"], np.int8)
    weight[..., case["channels_in"] :] = 0
    bias = random.integers(-9999, 10000, channels, np.int32)
    bias -= one["x_zero"] * weight.sum((1, 2, 3), np.int32)
    multiplier = random.integers(one["multiplier"] // 2, one["multiplier"] + 1, channels, np.int32)
    factor = multiplier if one["wide"] else np.ldexp(multiplier.astype(np.float32), -one["shift"])
    return {"x": x, "weight": weight, "bias": bias, "factor": factor}


def sample_of(case: dict, random: np.random.Generator) -> Sample:
    """Operands with what the layer gives, in numpy: sums in float32, or in float64 that holds the integers exactly."""
    made = operands(case, random)
    x = made["x"]
    if "active" in made:
        g = case["granularity"]
        x = x * mask_of(made["active"], case["channels_in"] // g, g)[:, None, None]
    reference = byte_reference if case["format"] == "int8" else real_reference
    expected = reference(case, made, x)
    written = made["pi"] > 0 if "pi" in made else np.ones((len(x), case["y"][3]), bool)
    return Sample(made, expected, np.broadcast_to(written[:, None, None], expected.shape))


def convolved(x: np.ndarray, weight: np.ndarray, stride: int, padding: int, outside: float = 0) -> np.ndarray:
    """Sums [N, P, Q, K] of x [N, H, W, C], surrounded by `outside`, and weight [K, R, S, C], in their element type."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=outside)
    rows, columns = ((size - taps) // stride + 1 for size, taps in zip(x.shape[1:3], weight.shape[1:3]))
    sums = np.zeros((len(x) * rows * columns, len(weight)), x.dtype)
    for down, across in np.ndindex(weight.shape[1:3]):
        window = x[:, down : down + stride * rows : stride, across : across + stride * columns : stride]
        sums += window.reshape(-1, x.shape[3]) @ weight[:, down, across].T
    return sums.reshape(len(x), rows, columns, -1)


def real_reference(case: dict, made: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The layer in float32; in short formats the products of rounded operands are exact in it."""
    sums = convolved(x.astype(np.float32), made["weight"].astype(np.float32), case["stride"], case["padding"])
    y = np.maximum(sums + made["bias"], 0)
    return (y * made["pi"][:, None, None] if "pi" in made else y).astype(np.float64)


def byte_reference(case: dict, made: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """core/integer.py's formulas in int64; the image is surrounded by its zero point."""
    one = case["arithmetic"]
    operands = x.astype(np.float64), made["weight"].astype(np.float64)
    sums = convolved(*operands, case["stride"], case["padding"], one["x_zero"]).astype(np.int64) + made["bias"]
    factor = np.ldexp(made["factor"].astype(np.float64), 0 if one["wide"] else one["shift"]).astype(np.int64)
    product = sums * (factor * made["pi"].astype(np.int64)[:, None, None] if "pi" in made else factor)
    raised = product + (1 << (one["shift"] - 1)) - 1 + ((product >> one["shift"]) & 1)
    return np.clip((raised >> one["shift"]) + one["zero"], one["low"], 255).astype(np.float64)


def output_of(case: dict):
    """The output on the device, filled with what no kernel writes."""
    nothing = NO_BYTE if case["dtype"] == "uint8" else np.nan
    return timing.on_device(np.full(case["y"], nothing, case["dtype"]))


def launcher(library, case: dict, schedule: dict, made: dict, y):
    """A function that launches the kernel once. made: operands on the device."""
    arrivals, partial = [], []
    if schedule["counters"]:
        arrivals = [timing.on_device(np.zeros(schedule["counters"], np.int32))]
        partial = [timing.on_device(np.zeros(schedule["partial"], schedule["sum"]))]
    function = library[schedule["function"]]
    arguments = [*schedule["numbers"], *made.values(), *arrivals, y, *partial]
    return lambda: function(*arguments)


def check(library, case: dict, schedule: dict, sample: Sample) -> dict:
    """The error of a kernel: of listed channels, where only those are written. All others must be as they were."""
    y = output_of(case)
    before = y.numpy()
    launcher(library, case, schedule, {role: timing.on_device(one) for role, one in sample.made.items()}, y)()
    timing.synchronize()
    after = y.numpy()
    actual, expected = after.astype(np.float64)[sample.written], sample.expected[sample.written]
    error = float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))
    is_left = np.array_equal(after[~sample.written].view(np.uint8), before[~sample.written].view(np.uint8))
    return {"error": error, "ok": bool(is_left and error <= TOLERANCE[case["format"]])}  # NaN is not ok
