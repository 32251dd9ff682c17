"""The parameters of a stage's SystemVerilog template, and the tables of constants it reads."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from espalier.core.errors import UnsupportedOpError

from ..stages import Adapter, Add, Convolution, Fork, Gate, MaxPool, MeanPool, Stage
from ..weight_codes import code_bits, codes, ordered
from ..windows import windows_of
from . import recentred
from .timing import line_buffer_rows, result_depth

KINDS = {"dsp": 0, "lut": 1, "shift": 2, "focused": 1, "binary": 4}
"""Of multiply_accumulate. Recentralised shifts are multiplied as the s8 levels that they are where shifts cost more."""

RECENTRED = 3
"""The kind of multiply_focused."""

WIDEST_T = 32


@dataclass(frozen=True, eq=False)
class Module:
    """A template and what it is filled with.

    name: of the template. parameters: numbers and texts by the parameter's name. tables: rows of (value, bits) fields,
    lowest first, by the file's name.
    """

    name: str
    parameters: dict[str, int | str]
    tables: dict[str, str] = field(default_factory=dict)


def module_of(stage: Stage, packs: bool = True) -> Module:
    """The template of a stage, filled; packs: see `emit`."""
    if isinstance(stage, Convolution):
        return _convolution(stage, packs)
    if isinstance(stage, MaxPool):
        return Module("max_pool", _max_pool(stage))
    if isinstance(stage, MeanPool):
        return Module("mean_pool", _mean_pool(stage))
    if isinstance(stage, Add):
        return Module("add", _add(stage))
    if isinstance(stage, Gate):
        return _gate(stage)
    if isinstance(stage, Fork):
        return Module("stream_fork", {"COPIES": stage.copies, "WIDTH": stage.lanes * stage.bits})
    assert isinstance(stage, Adapter)
    return Module("stream_adapter", {"IN_LANES": stage.in_lanes, "OUT_LANES": stage.out_lanes, "BITS": stage.bits})


def is_packed(stage: Convolution, packs: bool = True) -> bool:
    """Whether two products share a DSP block."""
    return packs and stage.products.kind == "dsp" and not stage.is_depthwise and stage.folding.pe > 1


def stored_bits(stage: Convolution) -> int:
    """Of a weight in the memory; of `focused<b>` as levels, which are not shifted, those of an s8."""
    if recentred.is_recentred(stage):
        return recentred.STORED_BITS
    return 8 if stage.products.kind == "focused" else code_bits(stage)


def product_bits(stage: Convolution) -> int:
    """Of a product as multiply_accumulate adds it; of the parts of a recentralised shift as multiply_focused does."""
    if recentred.is_recentred(stage):
        return recentred.part_bits(stage)
    return 15 if stage.products.kind == "shift" else stored_bits(stage) + 8


def sum_bits(stage: Convolution) -> int:
    """Of the accumulators; the least that the requantization's parts are written for is 12."""
    return max(stage.sum_bits, 12)


def window_parameters(stage: Convolution | MaxPool) -> dict[str, int]:
    """The image and the window as the line buffer sees them."""
    seen = windows_of(stage)
    (kernel_h, kernel_w), (stride_h, stride_w) = seen.kernel, seen.stride
    return {
        "HEIGHT": seen.height,
        "WIDTH": seen.width,
        "KERNEL_H": kernel_h,
        "KERNEL_W": kernel_w,
        "STRIDE_H": stride_h,
        "STRIDE_W": stride_w,
        "PAD_TOP": seen.top,
        "PAD_LEFT": seen.left,
        "OUT_HEIGHT": seen.rows,
        "OUT_WIDTH": seen.columns,
        "ROWS": line_buffer_rows(stage),
    }


def _pixels(stage: Convolution | MaxPool) -> dict[str, int]:
    """Where the windows of pixels lie in a window of beats; nothing where a beat has one pixel."""
    if stage.pixels == 1:
        return {}
    return {
        "PIXELS": stage.pixels,
        "OUT_PIXELS": stage.out_pixels,
        "FIRST": windows_of(stage).first,
        "STEP": stage.stride[1],
        "COLUMNS": stage.kernel[1],
    }


def _convolution(stage: Convolution, packs: bool) -> Module:
    weights, constants = f"{stage.name}_weights.mem", f"{stage.name}_constants.mem"
    parameters = {
        **window_parameters(stage),
        "CHANNELS_IN": stage.in_shape[2],
        "CHANNELS_OUT": stage.out_shape[2],
        "PAD_VALUE": stage.arithmetic.x_zero,
        "DEPTHWISE": int(stage.is_depthwise),
        "TAPS": stage.folding.taps,
        **_pixels(stage),
        "SIMD": stage.folding.simd,
        "PE": stage.folding.pe,
        "KIND": RECENTRED if recentred.is_recentred(stage) else KINDS[stage.products.kind],
        "PACK": int(packs),
        "WEIGHT_BITS": stored_bits(stage),
        "SUM_BITS": sum_bits(stage),
        "LANES": stage.out_lanes,
        "FIFO_DEPTH": result_depth(stage),
        "OUT_BITS": stage.out_bits,
        **_requantization(stage),
        **_lists(stage),
        **(recentred.parameters(stage) if recentred.is_recentred(stage) else {}),
        "WEIGHTS": weights,
        "CONSTANTS": constants,
    }
    return Module(
        "convolution",
        parameters,
        {weights: _weight_table(stage, packs), constants: _constant_table(stage, packs)},
    )


def _lists(stage: Convolution) -> dict[str, int]:
    """By what lists the weights are read."""
    parameters = {}
    if stage.active:
        split = stage.active.granularity // stage.folding.simd
        parameters |= {"HAS_ACTIVE": 1, "ACTIVE_SPLIT": split, "ALL_IN": stage.channels_in}
    if stage.winners:
        split = stage.winners.granularity // stage.folding.pe
        parameters |= {"HAS_WINNERS": 1, "WINNERS_SPLIT": split, "ALL_OUT": stage.channels_out}
    return parameters | ({"HAS_PI": 1} if stage.has_pi else {})


def _requantization(stage: Convolution) -> dict[str, int]:
    one, residual = stage.arithmetic, stage.arithmetic.residual
    if stage.multiplier is None:
        return {"RAW": 1, "RECTIFIED": int(stage.is_rectified), "FACTOR_BITS": factor_bits(stage)}
    parameters = {
        "FACTOR_BITS": factor_bits(stage),
        "SHIFT": one.shift,
        "ZERO": one.zero,
        "LOW": one.low,
        "HIGH": one.high,
    }
    if residual is None:
        return parameters
    low, high = _limits(stage)
    return parameters | {
        "HAS_RESIDUAL": 1,
        "T_LOW": low,
        "T_HIGH": high,
        "T_BITS": max(high.bit_length(), (-low - 1).bit_length(), 1) + 1,
        "OWN": residual.own,
        "OTHER": residual.other,
        "RESIDUAL_ZERO": residual.zero,
        "RESIDUAL_SHIFT": residual.shift,
    }


def factor_bits(stage: Convolution) -> int:
    """Of the multipliers of the requantization."""
    if stage.multiplier is None:
        return 1
    residual = stage.arithmetic.residual
    factors = [int(stage.multiplier.max()), *([residual.own, residual.other] if residual else [])]
    return max(max(factors).bit_length(), 2)


def _limits(stage: Convolution) -> tuple[int, int]:
    """What t is limited to before the residual: what it was given, or what it cannot leave."""
    residual = stage.arithmetic.residual
    if residual.low is not None:
        return residual.low, residual.high
    most = (int(stage.multiplier.max()) << (stage.sum_bits - 1)) >> stage.arithmetic.shift
    if most.bit_length() + 1 > WIDEST_T:
        raise UnsupportedOpError(
            f"layer {stage.name}: a sum before its residual of {most.bit_length() + 1} bits, accepted are {WIDEST_T}"
        )
    return -most - 1, most + 1


def _max_pool(stage: MaxPool) -> dict[str, int]:
    return {
        **window_parameters(stage),
        "CHANNELS": stage.in_shape[2],
        **_pixels(stage),
        "LANES": stage.lanes // stage.pixels,
        "FIFO_DEPTH": result_depth(stage),
    }


def _gate(stage: Gate) -> Module:
    one, pixels = stage.arithmetic, stage.in_shape[0] * stage.in_shape[1]
    phi, rho = f"{stage.name}_phi.mem", f"{stage.name}_rho.mem"
    parameters = {
        "PIXELS": pixels,
        "CHANNELS": stage.in_shape[2],
        "LANES": stage.lanes,
        "ALL_CHANNELS": len(stage.phi),
        "HAS_ACTIVE": int(stage.active is not None),
        "ACTIVE_SPLIT": stage.active.granularity if stage.active else 1,
        "X_ZERO": one.x_zero,
        "OUTPUTS": stage.winners.channels,
        "GRANULARITY": stage.winners.granularity,
        "KEPT": stage.winners.count,
        "HAS_PI": int(stage.has_pi),
        "BOOSTS": int(stage.boosts),
        "SUM_BITS": (255 * pixels).bit_length() + 1,
        "MEAN_FACTOR": one.mean_multiplier,
        "MEAN_FACTOR_BITS": max(one.mean_multiplier.bit_length(), 2),
        "MEAN_SHIFT": one.mean_shift,
        "PI_FACTOR": one.pi_multiplier,
        "PI_FACTOR_BITS": max(one.pi_multiplier.bit_length(), 2),
        "PI_SHIFT": one.pi_shift,
        "PHI": phi,
        "RHO": rho,
    }
    tables = {phi: stage.phi.T.reshape(-1, 1), rho: stage.rho.reshape(-1, 1)}
    return Module(
        "channel_gate", parameters, {phi: _hexadecimal(tables[phi], [8]), rho: _hexadecimal(tables[rho], [32])}
    )


def _mean_pool(stage: MeanPool) -> dict[str, int]:
    one, pixels = stage.arithmetic, stage.in_shape[0] * stage.in_shape[1]
    return {
        "PIXELS": pixels,
        "CHANNELS": stage.in_shape[2],
        "LANES": stage.lanes,
        "SUM_BITS": (255 * pixels).bit_length() + 1,
        "BIAS": -one.x_zero * pixels,
        "FACTOR": one.multiplier,
        "FACTOR_BITS": max(one.multiplier.bit_length(), 2),
        **_rounding(one),
    }


def _add(stage: Add) -> dict[str, int]:
    one = stage.arithmetic
    return {
        "LANES": stage.lanes,
        "X_ZERO": one.x_zero,
        "OTHER_ZERO": one.y_zero,
        "OWN": one.own,
        "OTHER": one.other,
        "FACTOR_BITS": add_factor_bits(stage),
        **_rounding(one),
    }


def add_factor_bits(stage: Add) -> int:
    """Of the multipliers of a sum."""
    return max(stage.arithmetic.own.bit_length(), stage.arithmetic.other.bit_length(), 2)


def _rounding(one) -> dict[str, int]:
    return {"SHIFT": one.shift, "ZERO": one.zero, "LOW": one.low, "HIGH": one.high}


def _weight_table(stage: Convolution, packs: bool) -> str:
    table = ordered(stage, _stored(stage)).astype(np.int64)
    table = table.reshape(-1, *table.shape[2:])
    if is_packed(stage, packs):  # the lower weight of a pair is stored above zero
        table[:, : stage.folding.pe // 2 * 2 : 2] ^= 1 << stored_bits(stage) - 1
    return _hexadecimal(table.reshape(len(table), -1), [stored_bits(stage)] * math.prod(table.shape[1:]))


def _stored(stage: Convolution) -> np.ndarray:
    """int8, shaped as the weights: what the memory holds of them."""
    if recentred.is_recentred(stage):
        return recentred.stored_codes(stage)
    return stage.weights if stage.products.kind == "focused" else codes(stage)


def _constant_table(stage: Convolution, packs: bool) -> str:
    """For each beat of the output, for each lane: multiplier, bias. Pixels that are computed at a time have the same.

    The stage multiplies x, not x - x_zero, and products of the lower weights of pairs are half their range too small.
    """
    bias = stage.raw_bias
    if is_packed(stage, packs):
        place, products = np.arange(len(bias)) % stage.folding.pe, stage.in_shape[2] * math.prod(stage.kernel)
        bias += np.where((place % 2 == 0) & (place + 1 < stage.folding.pe), products << product_bits(stage) - 1, 0)
    if recentred.is_recentred(stage):
        bias += recentred.missing(stage)
    multiplier = np.zeros_like(bias) if stage.multiplier is None else stage.multiplier.astype(np.int64)
    fields = np.tile(np.stack([multiplier, bias], 1).ravel(), stage.out_pixels).reshape(-1, 2 * stage.out_lanes)
    return _hexadecimal(fields, [factor_bits(stage), sum_bits(stage)] * stage.out_lanes)


def _hexadecimal(rows: np.ndarray, bits: list[int]) -> str:
    """A line for each row, its fields packed from the lowest bit."""
    shifts = np.concatenate([[0], np.cumsum(bits)])
    digits = -(-int(shifts[-1]) // 4)
    lines = []
    for row in rows.tolist():
        word = 0
        for value, at, width in zip(row, shifts.tolist(), bits, strict=False):
            word |= (value & ((1 << width) - 1)) << at
        lines.append(f"{word:0{digits}x}")
    return "\n".join(lines) + "\n"
