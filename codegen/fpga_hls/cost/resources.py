"""Resources of stages, before synthesis.

DSPs and blocks of RAM follow from what the templates write; LUTs and flip-flops are sums of a few products of a
stage's sizes, with coefficients that were fitted to synthesized stages (`coefficients.json`: "by_hand" are estimates
read off the templates, "coefficients" what synthesized stages made of them).
"""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path

from espalier.targets.boards import Resources

from ..graph import Edge, StreamGraph
from ..ports import lanes_in
from ..rtl import recentred
from ..rtl.parameters import factor_bits, is_packed, product_bits, stored_bits, sum_bits, window_parameters
from ..rtl.timing import line_buffer_rows, words_of_tap
from ..stages import Adapter, Add, Convolution, Fork, Gate, MaxPool, MeanPool, Stage
from ..windows import bits_read, taps_read, windows_of

COEFFICIENTS = Path(__file__).with_name("coefficients.json")
DISTRIBUTED_DEPTH = 64
"""The deepest memory that is always kept in LUTs, see weight_rom.sv and stream_fifo.sv."""

REGISTERS_DEPTH = 4
"""The deepest memory that Yosys keeps in flip-flops."""

LUTS_COST, MULTIPLEXER_COST, HALF_BLOCK_COST, BLOCK_COST = 8 / 3, 1, 129, 257
"""What a bit of 64 words in LUTs, a bit chosen among two, and blocks of 18 and of 36 kbit cost where Yosys may choose
(its memory_libmap; techlibs/xilinx, lutrams_xc5v.txt and brams_xc4v.txt).
"""

ROM_MULTIPLEXER_COST = 0.5
"""What a bit chosen among two costs where nothing is written."""

HALF_BLOCK_WIDTHS = ((16_384, 1), (8_192, 2), (4_096, 4), (2_048, 9), (1_024, 18), (512, 36))
"""(depth, width) of the forms of a block of 18 kbit, simple dual port (AMD UG473, table 1-8)."""

BLOCK_WIDTHS = (*((2 * depth, width) for depth, width in HALF_BLOCK_WIDTHS), (512, 72))
"""Of a block of 36 kbit."""

FORMS = (
    *((0.5, HALF_BLOCK_COST, *form) for form in HALF_BLOCK_WIDTHS),
    *((1.0, BLOCK_COST, *form) for form in BLOCK_WIDTHS),
)
"""(blocks of 36 kbit, cost, depth, width) of all forms."""

LUTS_OF_A_BIT = 4 / 3
"""Of 64 words: a memory of three bits takes four LUTs."""

NARROW_BITS = 18
"""Of a port of an ECP5's multiplier (Lattice FPGA-DS-02012, section 2.9)."""


def resources(stage: Stage, packs: bool = True) -> Resources:
    """Of one stage, without the FIFOs on its streams. packs: see `targets.boards.Board`."""
    terms = features(stage, packs)
    fitted = _coefficients()[type(stage).__name__]
    luts, ffs = (sum(fitted[kind][name] * value for name, value in terms.items()) for kind in ("luts", "ffs"))
    return Resources(max(0.0, luts), max(0.0, ffs), dsps(stage, packs), blocks(stage))


def fifo_resources(edge: Edge) -> Resources:
    """Of the FIFO of a stream."""
    width = edge.lanes * edge.bits
    if edge.depth <= DISTRIBUTED_DEPTH:
        return Resources(luts=16 + width * -(-edge.depth // 32) / 2, ffs=12)
    luts = 40 + LUTS_OF_A_BIT * buffer_bits(width, edge.depth)
    return Resources(luts=luts, ffs=30 + width, bram_36k=buffer_blocks(width, edge.depth))


def graph_resources(graph: StreamGraph, packs: bool = True) -> Resources:
    """Of all stages and FIFOs."""
    total = Resources()
    for one in (*(resources(stage, packs) for stage in graph.stages), *map(fifo_resources, graph.edges)):
        total += one
    return total


def dsps(stage: Stage, packs: bool = True) -> int:
    """DSP blocks: for products, two in each where outputs share an input if it `packs`, and for the requantization."""
    if isinstance(stage, MeanPool):
        factor = stage.arithmetic.multiplier
        return stage.lanes * _multipliers(factor, factor.bit_length())
    if isinstance(stage, Gate):
        return 3 + (4 if stage.has_pi and stage.boosts else 0)
    if not isinstance(stage, Convolution):
        return 0
    count = 0
    if stage.products.kind == "dsp":
        pairs = -(-stage.folding.pe // 2) if packs and not stage.is_depthwise else stage.folding.pe
        count = pairs * stage.products_per_cycle // stage.folding.pe
    if stage.multiplier is not None:
        wide = 1 if packs else 2  # blocks for a factor's half, and for a factor times pi
        sums = wide if stage.sum_bits > NARROW_BITS else 1
        count += stage.out_lanes * (2 * sums + _residual_products(stage) + (wide if stage.has_pi else 0))
    return count


def _residual_products(stage: Convolution) -> int:
    """Of a lane, for the residual's two factors."""
    residual, bits = stage.arithmetic.residual, factor_bits(stage)
    return sum(_multipliers(factor, bits) for factor in (residual.own, residual.other)) if residual else 0


def _multipliers(factor: int, bits: int) -> int:
    """Blocks for a constant factor: one for each of its halves, see multiply_wide.sv, that is no mere shift."""
    low = bits // 2 if bits > 12 else bits
    return sum(half.bit_count() > 1 for half in (factor & ((1 << low) - 1), factor >> low))


def blocks(stage: Stage) -> float:
    """Blocks of 36 kbit: weights, constants, and a copy of the line buffer for each tap that is read in a cycle."""
    if isinstance(stage, Convolution):
        weights, _ = rom_blocks(weight_word_bits(stage), math.prod(stage.weight_words))
        constants, _ = rom_blocks(*_constant_words(stage))
        return weights + constants + _line_buffer_blocks(stage)
    if isinstance(stage, Gate):
        phi, rho = rom_blocks(8, stage.phi.size), rom_blocks(32, len(stage.rho))
        return phi[0] + rho[0] + ram_blocks(32, len(stage.rho))
    if isinstance(stage, MaxPool):
        return _line_buffer_blocks(stage)
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


def rom_blocks(width: int, depth: int) -> tuple[float, int]:
    """(blocks of 36 kbit, bits chosen among two behind them) of a table of constants; (0, 0) where it is in LUTs.

    Parts of the depth may lie side by side in the words of a block; Yosys takes the cheapest form.
    """
    if depth <= DISTRIBUTED_DEPTH:
        return 0.0, 0
    found = []
    for size, price, deep, wide in FORMS:
        parts = -(-depth // deep)
        count, chosen = -(-width * parts // wide), width * (parts - 1)
        found.append((count * price + ROM_MULTIPLEXER_COST * chosen, count * size, chosen))
    return min(found)[1:]


def ram_blocks(width: int, depth: int) -> float:
    """Blocks of 36 kbit of a memory with one port to write and one to read; 0 where it is in LUTs."""
    if depth <= DISTRIBUTED_DEPTH:
        return 0.0
    return min(-(-width // wide) * -(-depth // deep) for deep, wide in HALF_BLOCK_WIDTHS) / 2


def buffer_blocks(width: int, depth: int) -> float:
    """As `ram_blocks`, of a memory that may be deep and in LUTs: a line buffer, a FIFO."""
    return 0.0 if buffer_bits(width, depth) else ram_blocks(width, depth)


def blocks_read(width: int, depth: int, low: int, high: int) -> float:
    """As `buffer_blocks`, where the bits from `low` to below `high` are read: blocks that have none of them go away."""
    if (low, high) == (0, width) or not buffer_blocks(width, depth):
        return buffer_blocks(width, depth)
    size, _, deep, wide = min(FORMS, key=lambda form: form[1] * -(-width // form[3]) * -(-depth // form[2]))
    return size * -(-depth // deep) * (-(-high // wide) - low // wide)


def buffer_bits(width: int, depth: int) -> float:
    """Bits of such a memory in LUTs, in units of 64 words; 0 where it is in blocks."""
    bits, halves = width * -(-depth // 64), 2 * ram_blocks(width, depth)
    cost = LUTS_COST * bits + MULTIPLEXER_COST * (bits - width)
    return bits if not halves or cost < HALF_BLOCK_COST * halves else 0


def features(stage: Stage, packs: bool = True) -> dict[str, float]:
    """What LUTs and flip-flops are linear in."""
    if isinstance(stage, Convolution):
        return _convolution_features(stage, packs)
    if isinstance(stage, MaxPool):
        return {"one": 1, "tap_bits": _window_bits(stage), "lutram_bits": _window_bits(stage) * _lutram_words(stage)}
    if isinstance(stage, MeanPool):
        bits = 8 + math.ceil(math.log2(stage.in_shape[0] * stage.in_shape[1] + 1))
        words = stage.in_shape[2] // stage.lanes
        in_registers = words <= REGISTERS_DEPTH
        return {
            "one": 1,
            "lane_bits": stage.lanes * bits,
            "lutram_bits": 0 if in_registers else _lutram(stage.lanes * bits, words),
            "register_bits": stage.lanes * bits * words if in_registers else 0,
        }
    if isinstance(stage, Gate):
        return _gate_features(stage)
    if isinstance(stage, Add):
        return {"one": 1, "lanes": stage.lanes}
    if isinstance(stage, Adapter):
        return {"one": 1, "bits": stage.bits * max(stage.in_lanes, stage.out_lanes)}
    assert isinstance(stage, Fork)
    return {"one": 1, "copies": stage.copies}


def _convolution_features(stage: Convolution, packs: bool) -> dict[str, float]:
    fold, made = stage.folding, stage.sums_per_group
    terms = stage.products_per_cycle // made
    tree = made * (terms - 1) * product_bits(stage)
    is_single = stage.products.kind == "dsp" and not is_packed(stage, packs)  # DSP blocks that add what they multiply
    window, weights = _window_bits(stage), (weight_word_bits(stage), math.prod(stage.weight_words))
    constants = _constant_words(stage)
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
        "packed_inputs": stage.out_pixels * terms if is_packed(stage, packs) else 0,
        "lutram_bits": window * _lutram_words(stage),
        "lutram_window_bits": window if _lutram_words(stage) else 0,
        "lutrom_bits": _lutram(*weights),
        "constant_bits": _lutram(*constants),
        "chosen_bits": rom_blocks(*weights)[1] + rom_blocks(*constants)[1],
        "lists": int(stage.active is not None) + int(stage.winners is not None),
        "pi_bits": 8 * fold.pe if stage.has_pi else 0,
        "pi_lanes": stage.out_lanes if stage.has_pi else 0,
        **(_pixel_features(stage, packs) if stage.pixels > 1 else {}),
    }


def _pixel_features(stage: Convolution, packs: bool) -> dict[str, float]:
    """Of the sums that wait in a register of their own, and of those that are corrected there, see convolution.sv."""
    corrected = stage.folding.pe // 2 if is_packed(stage, packs) else 0
    return {
        "waiting_bits": stage.sums_per_group * sum_bits(stage),
        "corrected_bits": stage.out_pixels * corrected * sum_bits(stage),
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


def _line_buffer_blocks(stage: Convolution | MaxPool) -> float:
    """Of all copies of the line buffer, one for each word that is read in a cycle."""
    width, depth = 8 * lanes_in(stage, "x"), _buffer_words(stage)
    return sum(words * blocks_read(width, depth, *bits) for bits, words in bits_read(stage).items())


def _lutram_words(stage: Convolution | MaxPool) -> float:
    """Of the line buffer, in units of 64; 0 where it is in blocks."""
    width = 8 * lanes_in(stage, "x")
    return buffer_bits(width, _buffer_words(stage)) / width


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


def _gate_features(stage: Gate) -> dict[str, float]:
    pixels, channels = stage.in_shape[0] * stage.in_shape[1], stage.winners.channels
    return {
        "one": 1,
        "lane_bits": stage.lanes * (8 + math.ceil(math.log2(pixels + 1))),
        "boosts": int(stage.has_pi and stage.boosts),
        "memory_bits": _lutram(8, stage.in_shape[2]) + _lutram(32, channels) * 2 + _lutram(8, stage.phi.size),
        "groups": stage.groups,
        "lists": int(stage.active is not None),
    }


def _lutram(width: int, depth: int) -> float:
    """Bits of a memory in LUTs, in units of what a LUT holds: 64 deep; 0 where it is in blocks."""
    return width * -(-depth // 64) if depth <= DISTRIBUTED_DEPTH else 0


@functools.cache
def _coefficients() -> dict:
    return json.loads(COEFFICIENTS.read_text())["coefficients"]
