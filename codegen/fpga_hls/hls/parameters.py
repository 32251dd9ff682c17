"""The parameters of a stage's template, as the constants of a C++ struct."""

from __future__ import annotations

import math

from ..ports import lanes_in
from ..rtl.parameters import is_packed
from ..rtl.timing import words_of_tap
from ..stages import Add, Convolution, Gate, MaxPool, MeanPool, Stage
from ..weight_codes import part_bits
from ..windows import taps_read, windows_of

KINDS = {"dsp": "espalier::DSP", "lut": "espalier::LUT", "shift": "espalier::SHIFT", "binary": "espalier::BINARY"}


def structs(stage: Stage, packs: bool = True) -> dict[str, dict[str, int | str]]:
    """Constants by name, for each struct that the stage's template takes, by the struct's ending.

    packs: see `emit`.
    """
    if isinstance(stage, Convolution):
        return {"window": _window(stage), "multiply": _multiply(stage, packs), "requantize": _requantize(stage)}
    if isinstance(stage, Gate):
        return {"gate": _gate(stage)}
    if isinstance(stage, MaxPool):
        return {"window": _pool_window(stage), "pool": _pool(stage)}
    if isinstance(stage, MeanPool):
        pixels = stage.in_shape[0] * stage.in_shape[1]
        one = stage.arithmetic
        sizes = {"pixels": pixels, "groups": stage.in_shape[2] // stage.lanes, "lanes": stage.lanes}
        return {"mean": {**sizes, "x_zero": one.x_zero, "multiplier": one.multiplier, **_rounding(one)}}
    if isinstance(stage, Add):
        one = stage.arithmetic
        factors = {"x_zero": one.x_zero, "y_zero": one.y_zero, "own": one.own, "other": one.other}
        return {
            "add": {
                "beats": math.prod(stage.in_shape) // stage.lanes,
                "lanes": stage.lanes,
                **factors,
                **_rounding(one),
            }
        }
    return {}


def _window(stage: Convolution) -> dict:
    return {
        **_image(stage),
        "lanes": stage.in_lanes,
        "taps": taps_read(stage),
        "buffer_rows": stage.buffer_rows,
        "zero": stage.arithmetic.x_zero,
        "groups_outside": int(stage.is_depthwise),
    }


def _pool_window(stage: MaxPool) -> dict:
    return {
        **_image(stage),
        "lanes": stage.lanes,
        "taps": taps_read(stage),
        "buffer_rows": stage.kernel[0] + stage.stride[0],
        "zero": 0,
        "groups_outside": 0,
    }


def _image(stage: Convolution | MaxPool) -> dict:
    seen = windows_of(stage)
    return {
        "height": seen.height,
        "width": seen.width,
        "channels": stage.pixels * stage.in_shape[2],
        "kernel_rows": seen.kernel[0],
        "kernel_columns": seen.kernel[1],
        "stride_rows": seen.stride[0],
        "stride_columns": seen.stride[1],
        "top": seen.top,
        "left": seen.left,
        "out_rows": seen.rows,
        "out_columns": seen.columns,
    }


def _pixels(stage: Convolution | MaxPool) -> dict:
    """Where the windows of pixels lie in a window of beats, which may have one pixel."""
    seen = windows_of(stage)
    return {
        "out_pixels": stage.out_pixels,
        "columns": stage.kernel[1],
        "beat_taps": taps_read(stage),
        "beat_lanes": lanes_in(stage, "x"),
        "beat_columns": seen.kernel[1],
        "beat_pixels": stage.pixels,
        "first": seen.first,
        "step": stage.stride[1],
    }


def _multiply(stage: Convolution, packs: bool) -> dict:
    constants = {
        "pixels": _times(stage),
        "groups": stage.groups,
        "cycles": stage.cycles_per_group,
        "pe": stage.folding.pe,
        "taps": stage.folding.taps,
        "lanes": stage.in_lanes // stage.pixels,
        "inputs": stage.products_per_cycle // stage.sums_per_group,
        "sum_bits": stage.sum_bits,
        "is_depthwise": int(stage.is_depthwise),
        **(_lists(stage) if stage.is_listed else {}),
        **_pixels(stage),
    }
    if stage.products.kind != "focused":
        return {**constants, "kind": KINDS[stage.products.kind], "packs": int(is_packed(stage, packs))}
    (mean0, step0), (mean1, step1) = (*stage.products.components, (0, 0))[:2]
    means = {"mean0": mean0, "step0": step0, "mean1": mean1, "step1": step1}
    return {**constants, "part_bits": part_bits(stage), **means}


def _lists(stage: Convolution) -> dict:
    """How the lists name words of the input and groups of the output."""
    return {
        "words": stage.in_shape[2] // stage.in_lanes,
        "all_words": stage.channels_in // stage.in_lanes,
        "all_groups": stage.weight_words[0],
        "active_split": stage.active.granularity // stage.folding.simd if stage.active else 1,
        "winners_split": stage.winners.granularity // stage.folding.pe if stage.winners else 1,
        "has_pi": int(stage.has_pi),
    }


def _gate(stage: Gate) -> dict:
    one = stage.arithmetic
    return {
        "pixels": stage.in_shape[0] * stage.in_shape[1],
        "words": stage.in_shape[2] // stage.lanes,
        "lanes": stage.lanes,
        "channels": len(stage.phi),
        "active_split": stage.active.granularity if stage.active else 1,
        "outputs": stage.winners.channels,
        "granularity": stage.winners.granularity,
        "kept": stage.winners.count,
        "x_zero": one.x_zero,
        "mean_multiplier": one.mean_multiplier,
        "mean_shift": one.mean_shift,
        "pi_multiplier": one.pi_multiplier,
        "pi_shift": one.pi_shift,
        "has_pi": int(stage.has_pi),
        "boosts": int(stage.boosts),
    }


def _requantize(stage: Convolution) -> dict:
    one, residual = stage.arithmetic, stage.arithmetic.residual
    constants = {
        "pixels": _times(stage),
        "groups": stage.groups,
        "pe": stage.sums_per_group,
        "out_lanes": stage.out_lanes,
        **_rounding(one),
        **(_lists(stage) if stage.winners else {}),
        **({"is_rectified": int(stage.is_rectified)} if stage.multiplier is None else {}),
    }
    if residual is None:
        return constants
    return {
        **constants,
        "is_limited": int(residual.low is not None),
        "residual_low": residual.low or 0,
        "residual_high": residual.high or 0,
        "residual_zero": residual.zero,
        "own": residual.own,
        "other": residual.other,
        "residual_shift": residual.shift,
    }


def _rounding(one) -> dict:
    return {"shift": one.shift, "zero": one.zero, "low": one.low, "high": one.high}


def _pool(stage: MaxPool) -> dict:
    return {
        "pixels": _times(stage),
        "groups": words_of_tap(stage),
        "taps": math.prod(stage.kernel),
        "lanes": stage.lanes // stage.pixels,
        **_pixels(stage),
    }


def _times(stage: Convolution | MaxPool) -> int:
    """How often it computes pixels."""
    return stage.out_shape[0] * stage.out_shape[1] // stage.out_pixels
