"""The cases that `gpu/measure.py` checks and times, as numbers, shapes and names of compiled functions."""

from __future__ import annotations

import math

import numpy as np

from espalier.codegen.cuda.kernel_launches import launch_of, launch_of_gate, launch_of_sums
from espalier.codegen.cuda.kernel_objects import Variant
from espalier.codegen.cuda.kernels import channel_gate, channel_sums, dense_codebook, epilogue
from espalier.codegen.cuda.kernels.choose_schedule import choose_schedule, schedules
from espalier.codegen.cuda.kernels.conv2d import (
    NUMBERS,
    Problem,
    Schedule,
    call_numbers,
    scratch_shapes,
    tiles_of,
)
from espalier.codegen.cuda.kernels.legal_tiles import fits
from espalier.codegen.cuda.layout import Layout, whole_groups
from espalier.core.integer import LayerArithmetic, multipliers
from espalier.core.layers import Activation, ActiveList, ChannelGateSpec, Conv2dSpec, DenseSpec
from espalier.targets.gpu import Gpu

LAYERS = {
    "3x3 64-64 56x56": (64, 64, 56, 3, 1),
    "3x3 128-128 28x28": (128, 128, 28, 3, 1),
    "3x3 256-256 14x14": (256, 256, 14, 3, 1),
    "3x3 512-512 7x7": (512, 512, 7, 3, 1),
    "3x3 64-128 56x56 stride 2": (64, 128, 56, 3, 2),
    "1x1 256-64 56x56": (256, 64, 56, 1, 1),
    "1x1 1024-256 14x14": (1024, 256, 14, 1, 1),
    "7x7 3-64 224x224 stride 2": (3, 64, 224, 7, 2),
}
"""Convolutions of ResNet-18 and ResNet-50: channels in and out, image, kernel, stride."""
BARS = {"3x3 128-128 28x28": 512, "3x3 256-256 14x14": 512, "1x1 1024-256 14x14": 1024}
"""Of these, with the batch at which an H100 at the peak of its tensor cores takes more than 100 us, or its memory does:
what densities save is judged where a launch is long."""
STAIRS = {f"3x3 256-{channels} 14x14": (256, channels, 14, 3, 1) for channels in range(64, 1025, 64)}
"""Layers whose time is a staircase of waves over output channels."""
WIDE = {"3x3 64-64 28x28 rescaled in 64 bits": (64, 64, 28, 3, 1)}
"""Layers of bytes whose sums are not rescaled in float32, as those are that may be too long for it."""
DENSITIES, BATCHES, GRANULARITY = (1.0, 0.5, 0.25), (32, 1), 16


X_ZERO, ZERO = 3, 5
"""Zero points of quantized layers without lists."""


def conv_cases(gpu: Gpu) -> list[dict]:
    """Every layer at every density and batch, under the schedule that is chosen and, dense, under all others."""
    cases = []
    for batch in BATCHES:
        for name in LAYERS:
            for density in DENSITIES if LAYERS[name][0] >= 4 * GRANULARITY else DENSITIES[:1]:
                cases += [conv_case(name, batch, density, one, gpu) for one in ("float16", "int8")]
    cases += [conv_case(name, 1, density, "int8", gpu) for name in WIDE for density in DENSITIES[:2]]
    more = [one for one in ("tfloat32", "float32") if one in gpu.formats]
    return cases + [conv_case(name, 1, 1.0, one, gpu) for name in list(LAYERS)[:3] for one in more]


def bar_cases(gpu: Gpu) -> list[dict]:
    """The layers of `BARS` at every density."""
    return [
        chosen_only(conv_case(name, batch, density, "float16", gpu, "bars"))
        for name, batch in BARS.items()
        for density in DENSITIES
    ]


def stair_cases(gpu: Gpu) -> list[dict]:
    """The layers of `STAIRS`."""
    return [chosen_only(conv_case(name, BATCHES[0], 1.0, "float16", gpu, "staircase")) for name in STAIRS]


def chosen_only(case: dict) -> dict:
    """A case without the schedules that are not chosen."""
    return {**case, "schedules": case["schedules"][:1]}


def conv_case(name: str, batch: int, density: float, number_format: str, gpu: Gpu, part: str = "layers") -> dict:
    """One layer as numbers and shapes, for `measure.py`. part: of the record, that it is for."""
    c_in, c_out, image, kernel, stride = _layer(name)
    out = -(-image // stride)
    weight_shape, x_shape = (c_out, c_in, kernel, kernel), (batch, c_in, image, image)
    spec, arithmetic = _spec(name, density, number_format)
    problem = Problem.of(spec, x_shape, weight_shape, (batch, c_out, out, out))
    y_dtype = NUMBERS[number_format].element
    chosen = choose_schedule(problem, gpu)
    tiles = [tile for tile in tiles_of(gpu) if fits(tile, problem.numbers, gpu)]
    others = [one for one in schedules(problem, tiles) if one != chosen and one.splits in (1, 4, 8)]
    launch = launch_of(spec, problem, chosen, y_dtype, gpu)
    x, y = (Layout(y_dtype).physical(shape) for shape in (x_shape, problem.out_shape))
    weight, size = (whole_groups(c_out), kernel, kernel, x[3]), np.dtype(y_dtype).itemsize
    return {
        "name": name,
        "part": part,
        "batch": batch,
        "density": density,
        "format": number_format,
        "x": x,
        "weight": weight,
        "y": y,
        "dtype": y_dtype,
        "stride": stride,
        "padding": kernel // 2,
        "channels_in": c_in,
        "granularity": GRANULARITY,
        "kept": [spec.active.count, spec.winners.count] if density < 1 else None,
        "macs": launch.macs,
        "bytes": launch.bytes,
        "activation_bytes": (math.prod(x) + math.prod(y)) * size,
        "weight_bytes": math.prod(weight) * size,
        "arithmetic": arithmetic,
        "schedules": [
            _schedule(spec, problem, one, y_dtype, gpu) for one in (chosen, *(others if density == 1 else []))
        ],
    }


def _layer(name: str) -> tuple[int, int, int, int, int]:
    return {**LAYERS, **STAIRS, **WIDE}[name]


def _spec(name: str, density: float, number_format: str) -> tuple[Conv2dSpec, dict | None]:
    """The layer, and the integers that `measure.py` needs of it."""
    c_in, c_out, _, kernel, stride = _layer(name)
    gated = density < 1
    active, winners = (ActiveList(int(density * one) // GRANULARITY, GRANULARITY) for one in (c_in, c_out))
    gate = {"gate": "output", "winners": winners, "active": active} if gated else {}
    lists = ("pi", "winners", "active") if gated else ()
    common = {"strides": (stride, stride), "padding": (kernel // 2,) * 4, "format": number_format, **gate}
    if number_format != "int8":
        return Conv2dSpec(name, ("x", "weight", "bias", *lists), Activation("relu"), **common), None
    scale = 60 / (74 * 74 * math.sqrt(c_in * density * kernel**2)) / (100 if gated else 1)  # random bytes are 74 off
    multiplier, shift = multipliers(np.array([scale]), 16 if gated else 24)
    x_zero, zero = (0, 0) if gated else (X_ZERO, ZERO)
    one = LayerArithmetic(x_zero, shift, zero, low=zero)
    spec = Conv2dSpec(name, ("x", "weight", "bias", "multiplier", *lists), integer=one, out_format="uint8", **common)
    return spec, {
        "x_zero": x_zero,
        "shift": shift,
        "zero": zero,
        "low": zero,
        "multiplier": int(multiplier[0]),
        "wide": name in WIDE,
    }


def _schedule(spec, problem: Problem, schedule: Schedule, y_dtype: str, gpu: Gpu) -> dict:
    counters, partial = scratch_shapes(problem, schedule)
    given = [role for role in spec.roles if role not in ("x", "weight", "multiplier")]
    channels = Layout(y_dtype).channels(problem.out_shape[1])
    if spec.integer is None:
        end = epilogue.real_end(spec, channels, y_dtype)
    else:
        end = epilogue.byte_end(
            spec, channels, problem.out_shape[1], epilogue.WIDE if spec.name in WIDE else epilogue.FUSED
        )
        given += ["outside"] if spec.integer.x_zero and any(spec.padding) else []
    return {
        "function": schedule.tile.variant(problem.number_format).name,
        "splits": schedule.splits,
        "numbers": call_numbers(problem, schedule, given, end),
        "counters": counters,
        "partial": partial,
        "sum": problem.numbers.sum,
        "launch": launch_of(spec, problem, schedule, y_dtype, gpu).to_dict(),
    }


def gate_cases(gpu: Gpu) -> list[dict]:
    """The gates of ResNet-18's stages."""
    layers = ((64, 56), (128, 28), (256, 14), (512, 7))
    return [gate_case(batch, *layer, gpu) for batch in BATCHES for layer in layers]


def gate_case(batch: int, channels: int, image: int, gpu: Gpu) -> dict:
    """A gate that keeps half of its groups, and the sums of its input, as numbers and shapes."""
    spec = ChannelGateSpec("gate", "boost", GRANULARITY, channels // GRANULARITY // 2)
    x_shape, slots = (batch, channels, image, image), channel_sums.slots_of(gpu, batch, image * image)
    sums_shape, launch = channel_sums.sums_shape(x_shape, slots), launch_of_gate(spec, x_shape, channels, slots, gpu)
    return {
        "batch": batch,
        "channels": channels,
        "image": image,
        "granularity": GRANULARITY,
        "kept": spec.kept,
        "function": channel_gate.variant_of(spec).name,
        "numbers": channel_gate.gate_numbers(spec, x_shape, channels, sums_shape, launch.grid[1]),
        "counters": batch if launch.grid[1] > 1 else 0,
        "outputs": channel_gate.output_shapes(spec, batch, channels),
        "predicted_s": launch.predicted_s,
        "sums": {
            "function": channel_sums.variant_of("float16").name,
            "numbers": channel_sums.sums_numbers(spec, x_shape, "float16", slots),
            "shape": sums_shape,
            "predicted_s": launch_of_sums(spec, x_shape, "float16", slots, gpu).predicted_s,
        },
    }


def codebook_case(size: int = 16384) -> dict:
    """A square dense layer of 4-bit codes at batch 1."""
    spec = DenseSpec("fc", ("x", "weight", "bias", "scale"), format="int8", integer=LayerArithmetic(0))
    numbers = dense_codebook.codebook_numbers(spec, 1, np.zeros((size, size), np.int8))
    return {"size": size, "function": dense_codebook.VARIANT.name, "numbers": numbers}


def variants(gpu: Gpu) -> list[Variant]:
    """Every compiled function that a case names."""
    gate = ChannelGateSpec("gate", "boost", GRANULARITY, 1)
    tiles = [tile.variant(one) for one in gpu.formats for tile in tiles_of(gpu) if fits(tile, NUMBERS[one], gpu)]
    return [*tiles, channel_sums.variant_of("float16"), channel_gate.variant_of(gate), dense_codebook.VARIANT]
