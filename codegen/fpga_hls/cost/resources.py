"""Resources of stages, before synthesis.

DSPs and blocks of RAM follow from what the templates write; LUTs and flip-flops are sums of a few products of a
stage's sizes, with coefficients that were fitted to synthesized stages (`coefficients.json`, for each family of parts:
"by_hand" are estimates read off the templates, "coefficients" what synthesized stages made of them).
"""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path

from espalier.core.integer import AddSpec, ResidualArithmetic
from espalier.targets.boards import Resources, packs

from ..graph import Edge, StreamGraph
from ..ports import lanes_in
from ..rtl import recentred
from ..rtl.parameters import (
    add_factor_bits,
    factor_bits,
    is_packed,
    product_bits,
    stored_bits,
    sum_bits,
    window_parameters,
)
from ..rtl.timing import line_buffer_rows, words_of_tap
from ..stages import Adapter, Add, Convolution, Fork, Gate, MaxPool, MeanPool, Stage
from ..windows import bits_read, taps_read, windows_of
from .memories import (
    DISTRIBUTED_DEPTH,
    MEMORIES,
    banks,
    blocks_read,
    buffer_bits,
    buffer_blocks,
    lut_units,
    ram_blocks,
    rom_blocks,
)

COEFFICIENTS = Path(__file__).with_name("coefficients.json")
NARROW_BITS = 18
"""Of a port of an ECP5's multiplier (Lattice FPGA-DS-02012, section 2.9)."""


def resources(stage: Stage, family: str = "xc7") -> Resources:
    """Of one stage, without the FIFOs on its streams. family: see `targets.boards.Board`."""
    terms = features(stage, family)
    fitted = coefficients(family)[type(stage).__name__]
    luts, ffs = (sum(fitted[kind][name] * value for name, value in terms.items()) for kind in ("luts", "ffs"))
    return Resources(max(0.0, luts), max(0.0, ffs), dsps(stage, family), blocks(stage, family))


def fifo_resources(edge: Edge, family: str = "xc7") -> Resources:
    """Of the FIFO of a stream."""
    width, memories = edge.lanes * edge.bits, MEMORIES[family]
    shallow, deep = memories.fifo_luts
    if edge.depth <= DISTRIBUTED_DEPTH:
        words, luts = memories.fifo_unit
        return Resources(luts=shallow + width * -(-edge.depth // words) * luts, ffs=12)
    in_luts = buffer_bits(width, edge.depth, family)
    luts = deep + memories.luts * in_luts + (width if memories.is_bypassed and not in_luts else 0)
    return Resources(luts=luts, ffs=30 + width, bram_36k=buffer_blocks(width, edge.depth, family))


def graph_resources(graph: StreamGraph, family: str = "xc7") -> Resources:
    """Of all stages and FIFOs."""
    total = Resources()
    for stage in graph.stages:
        total += resources(stage, family)
    for edge in graph.edges:
        total += fifo_resources(edge, family)
    return total


def dsps(stage: Stage, family: str = "xc7") -> int:
    """DSP blocks: for products, two in each where outputs share an input and it packs, and for the requantization."""
    if isinstance(stage, MeanPool):
        factor = stage.arithmetic.multiplier
        return stage.lanes * _multipliers(factor, factor.bit_length())
    if isinstance(stage, Add):
        return stage.lanes * _of_two_factors(stage.arithmetic, add_factor_bits(stage))
    if isinstance(stage, Gate):
        return 3 + (4 if stage.has_pi and stage.boosts else 0)
    if not isinstance(stage, Convolution):
        return 0
    count = 0
    if stage.products.kind == "dsp":
        pairs = -(-stage.folding.pe // 2) if packs(family) and not stage.is_depthwise else stage.folding.pe
        count = pairs * stage.products_per_cycle // stage.folding.pe
    if stage.multiplier is not None:
        wide = 1 if packs(family) else 2  # blocks for a factor's half, and for a factor times pi
        sums = wide if stage.sum_bits > NARROW_BITS else 1
        residual = stage.arithmetic.residual
        added = _of_two_factors(residual, factor_bits(stage)) if residual else 0
        count += stage.out_lanes * (2 * sums + added + (wide if stage.has_pi else 0))
    return count


def _of_two_factors(arithmetic: ResidualArithmetic | AddSpec, bits: int) -> int:
    """Blocks of a lane where two streams are added, each times a factor."""
    return _multipliers(arithmetic.own, bits) + _multipliers(arithmetic.other, bits)


def _multipliers(factor: int, bits: int) -> int:
    """Blocks for a constant factor: one for each of its halves, see multiply_wide.sv, that is no mere shift."""
    low = bits // 2 if bits > 12 else bits
    return sum(half.bit_count() > 1 for half in (factor & ((1 << low) - 1), factor >> low))


def blocks(stage: Stage, family: str = "xc7") -> float:
    """Blocks of 36 kbit: weights, constants, and a copy of the line buffer for each tap that is read in a cycle."""
    if isinstance(stage, Convolution):
        weights, _ = rom_blocks(weight_word_bits(stage), math.prod(stage.weight_words), family)
        constants, _ = rom_blocks(*_constant_words(stage), family)
        return weights + constants + _line_buffer_blocks(stage, family)
    if isinstance(stage, Gate):
        phi, rho = rom_blocks(8, stage.phi.size, family), rom_blocks(32, len(stage.rho), family)
        return phi[0] + rho[0] + ram_blocks(32, len(stage.rho))
    if isinstance(stage, MaxPool):
        return _line_buffer_blocks(stage, family)
    if isinstance(stage, MeanPool):
        bits = (255 * stage.in_shape[0] * stage.in_shape[1]).bit_length() + 1
        return ram_blocks(stage.lanes * bits, stage.in_shape[2] // stage.lanes)
    return 0


def weight_word_bits(stage: Convolution) -> int:
    """Of what is read from the weights in a cycle."""
    return stage.products_per_cycle // stage.out_pixels * stored_bits(stage)


def _constant_words(stage: Convolution) -> tuple[int, int]:
    """(bits of the constants of a beat of the output, number of these)."""
    lanes = stage.out_lanes
    return lanes * (sum_bits(stage) + factor_bits(stage)), stage.channels_out * stage.out_pixels // lanes


def features(stage: Stage, family: str = "xc7") -> dict[str, float]:
    """What LUTs and flip-flops are linear in."""
    if isinstance(stage, Convolution):
        return _convolution_features(stage, family)
    if isinstance(stage, MaxPool):
        window = _window_bits(stage)
        return {
            "one": 1,
            "tap_bits": window,
            "lutram_bits": window * _lutram_words(stage, family),
            **_bypass_features(stage, family),
        }
    if isinstance(stage, MeanPool):
        bits = 8 + math.ceil(math.log2(stage.in_shape[0] * stage.in_shape[1] + 1))
        words = stage.in_shape[2] // stage.lanes
        in_registers = words <= MEMORIES[family].register_words
        return {
            "one": 1,
            "lane_bits": stage.lanes * bits,
            "lutram_bits": 0 if in_registers else _lutram(stage.lanes * bits, words, family),
            "register_bits": stage.lanes * bits * words if in_registers else 0,
        }
    if isinstance(stage, Gate):
        return _gate_features(stage, family)
    if isinstance(stage, Add):
        return {"one": 1, "lanes": stage.lanes}
    if isinstance(stage, Adapter):
        return {"one": 1, "bits": stage.bits * max(stage.in_lanes, stage.out_lanes)}
    assert isinstance(stage, Fork)
    return {"one": 1, "copies": stage.copies}


def _convolution_features(stage: Convolution, family: str) -> dict[str, float]:
    fold, made = stage.folding, stage.sums_per_group
    terms = stage.products_per_cycle // made
    tree = made * (terms - 1) * product_bits(stage)
    packed = is_packed(stage, packs(family))
    is_single = stage.products.kind == "dsp" and not packed  # DSP blocks that add what they multiply
    window, weights = _window_bits(stage), (weight_word_bits(stage), math.prod(stage.weight_words))
    constants = _constant_words(stage)
    lutram = _lutram_words(stage, family)
    return {
        "one": 1,
        "tree_bits": 0 if is_single else tree,
        "single_tree_bits": tree if is_single else 0,
        "sum_bits": made * sum_bits(stage),
        **_product_features(stage),
        "window_bits": window,
        "taps": taps_read(stage),
        **_walk_features(stage, _buffer_words(stage)),
        "out_lanes": stage.out_lanes if stage.multiplier is not None else 0,
        "out_lane_bits": stage.out_lanes * sum_bits(stage),
        "residual_lanes": stage.out_lanes if stage.arithmetic.residual else 0,
        "packed_inputs": stage.out_pixels * terms if packed else 0,
        "lutram_bits": window * lutram,
        "lutram_window_bits": window if lutram else 0,
        "lutrom_bits": _lutram(*weights, family),
        "constant_bits": _lutram(*constants, family),
        "chosen_bits": rom_blocks(*weights, family)[1] + rom_blocks(*constants, family)[1],
        "lists": int(stage.active is not None) + int(stage.winners is not None),
        "pi_bits": 8 * fold.pe if stage.has_pi else 0,
        "pi_lanes": stage.out_lanes if stage.has_pi else 0,
        **_bypass_features(stage, family),
        **(_pixel_features(stage, packed) if stage.pixels > 1 else {}),
    }


def _pixel_features(stage: Convolution, packed: bool) -> dict[str, float]:
    """Of the sums that wait in a register of their own, and of those that are corrected there, see convolution.sv."""
    corrected = stage.folding.pe // 2 if packed else 0
    return {
        "waiting_bits": stage.sums_per_group * sum_bits(stage),
        "corrected_bits": stage.out_pixels * corrected * sum_bits(stage),
    }


def _bypass_features(stage: Convolution | MaxPool, family: str) -> dict[str, float]:
    """Of what goes around the blocks of a line buffer: the bits that are read, and the word and the address that are
    kept of the last write; and of the registers of its memories but one. None where blocks need nothing of it.
    """
    if not MEMORIES[family].is_bypassed:
        return {}
    width, depth, window = 8 * lanes_in(stage, "x"), _buffer_words(stage), _window_bits(stage)
    count, words = banks(depth, family)
    is_kept = buffer_bits(width, words, family) == 0
    return {
        "bypassed_bits": count * window if is_kept else 0,
        "kept_bits": count * (width + (words - 1).bit_length()) if is_kept else 0,
        "bank_bits": (count - 1) * window,
    }


def _product_features(stage: Convolution) -> dict[str, float]:
    """Of what multiplies; levels of recentralised shifts that are not shifted are multiplied in look-up tables."""
    products = stage.products_per_cycle
    if recentred.is_recentred(stage):
        parts = recentred.parameters(stage)
        bits = 2 * stage.folding.pe * (parts["CENTRE_BITS"] + parts["SHIFTED_BITS"])
        return {"recentred_products": products, "part_bits": bits, "constant_lanes": stage.out_lanes}
    if stage.products.kind in ("lut", "focused"):
        return {"lut_products": products, "lut_product_bits": products * stored_bits(stage)}
    return {f"{stage.products.kind}_products": products}


def _window_bits(stage: Convolution | MaxPool) -> int:
    """Of what is read from the line buffer in a cycle."""
    return sum((high - low) * words for (low, high), words in bits_read(stage).items())


def _line_buffer_blocks(stage: Convolution | MaxPool, family: str) -> float:
    """Of all copies of the line buffer, one for each word that is read in a cycle."""
    width, (count, depth) = 8 * lanes_in(stage, "x"), banks(_buffer_words(stage), family)
    return count * sum(words * blocks_read(width, depth, *bits, family) for bits, words in bits_read(stage).items())


def _lutram_words(stage: Convolution | MaxPool, family: str) -> float:
    """Of the line buffer, in units of memories in LUTs; 0 where it is in blocks."""
    width = 8 * lanes_in(stage, "x")
    return buffer_bits(width, banks(_buffer_words(stage), family)[1], family) / width


def _buffer_words(stage: Convolution | MaxPool) -> int:
    """Of the line buffer."""
    return line_buffer_rows(stage) * windows_of(stage).width * words_of_tap(stage)


def _walk_features(stage: Convolution, words: int) -> dict[str, float]:
    """Of the counters of window_reader.sv: where windows lie, in the image and in the ring of its rows."""
    window = window_parameters(stage)
    rows = window["HEIGHT"] + window["KERNEL_H"] + window["PAD_TOP"] + window["ROWS"]
    columns = window["WIDTH"] + window["KERNEL_W"] + window["PAD_LEFT"]
    position = (rows - 1).bit_length() + (columns - 1).bit_length() + 2
    ring = window["KERNEL_H"] * ((words - 1).bit_length() + 1)
    return {
        "position_bits": position,
        "tap_position_bits": 0 if stage.kernel == (1, 1) else taps_read(stage) * position,
        "ring_bits": ring,
        "wrap_bits": ring if words.bit_count() > 1 else 0,
    }


def _gate_features(stage: Gate, family: str) -> dict[str, float]:
    pixels, channels = stage.in_shape[0] * stage.in_shape[1], stage.winners.channels
    memories = ((8, stage.in_shape[2]), (32, channels), (32, channels), (8, stage.phi.size))
    return {
        "one": 1,
        "lane_bits": stage.lanes * (8 + math.ceil(math.log2(pixels + 1))),
        "boosts": int(stage.has_pi and stage.boosts),
        "memory_bits": sum(_lutram(width, depth, family) for width, depth in memories),
        "groups": stage.groups,
        "lists": int(stage.active is not None),
    }


def _lutram(width: int, depth: int, family: str) -> int:
    """Of a memory in LUTs, in units; 0 where it is in blocks."""
    return lut_units(width, depth, family) if depth <= DISTRIBUTED_DEPTH else 0


@functools.cache
def coefficients(family: str) -> dict:
    """By class of stages, resource and feature; those of "xc7" for "xcup" too."""
    return json.loads(COEFFICIENTS.read_text())["xc7" if family == "xcup" else family]["coefficients"]
