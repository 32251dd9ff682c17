"""Where synthesis puts memories, in LUTs or in blocks of RAM, by the prices of Yosys' memory_libmap.

A written memory whose words are read before they are overwritten costs more where blocks give no such promise: then
what was written last goes around the block.
"""

from __future__ import annotations

from dataclasses import dataclass

DISTRIBUTED_DEPTH = 64
"""The deepest table of constants, or FIFO, that is always kept in LUTs, see weight_rom.sv and stream_fifo.sv."""

HALF_BLOCK_WIDTHS = ((16_384, 1), (8_192, 2), (4_096, 4), (2_048, 9), (1_024, 18), (512, 36))
"""(depth, width) of the forms of a block of 18 kbit, simple dual port (AMD UG473, table 1-8; an ECP5 has the same,
Lattice FPGA-TN-02204, table 3.1).
"""

BLOCK_WIDTHS = (*((2 * depth, width) for depth, width in HALF_BLOCK_WIDTHS), (512, 72))
"""Of a block of 36 kbit."""

ROM_MULTIPLEXER_PRICE = 0.5
"""Of a bit chosen among two where nothing is written."""


@dataclass(frozen=True)
class Memories:
    """What a family of parts has, and what Yosys takes it to cost.

    lut_words: a unit of a memory in LUTs is a bit of so many words. luts: that a unit takes. lut_price: of a unit;
    these come in cells of `cell_units`. multiplexer_price: of a bit chosen among two of a memory in LUTs; part_price:
    of a part of its depth that is chosen to be written. forms: (blocks of 36 kbit, price, depth, width) of blocks of
    RAM. most_in_luts: the deepest memory that no block is taken for. bypass_price: of what goes around a block, 0 where
    a block reads what was there before a write. bank_words: of a line buffer, the deepest part that is a memory of its
    own (templates/rtl/narrow/line_memory.sv), None where it is whole. register_words: the deepest memory in flip-flops.
    fifo_luts: of a FIFO of up to `DISTRIBUTED_DEPTH` words, and of a deeper one, without its memory; chains of carries
    take LUTs of an ECP5 where they begin and end. fifo_unit: (words, LUTs) of a bit of a shallow one's memory.
    """

    lut_words: int
    luts: float
    lut_price: float
    cell_units: int
    multiplexer_price: float
    part_price: float
    forms: tuple[tuple[float, float, int, int], ...]
    most_in_luts: int
    bypass_price: float
    bank_words: int | None
    register_words: int
    fifo_luts: tuple[int, int]
    fifo_unit: tuple[int, float]

    @property
    def is_bypassed(self) -> bool:
        """Whether blocks need what goes around them."""
        return self.bypass_price > 0


XC7 = Memories(
    lut_words=64,
    luts=4 / 3,  # a memory of three bits takes four LUTs
    lut_price=8 / 3,
    cell_units=1,
    multiplexer_price=1,
    part_price=0,
    forms=(
        *((0.5, 129, *form) for form in HALF_BLOCK_WIDTHS),
        *((1.0, 257, *form) for form in BLOCK_WIDTHS),
    ),
    most_in_luts=DISTRIBUTED_DEPTH,
    bypass_price=0,
    bank_words=None,
    register_words=4,
    fifo_luts=(16, 40),
    fifo_unit=(32, 0.5),
)
"""techlibs/xilinx of Yosys, lutrams_xc5v.txt and brams_xc4v.txt."""

ECP5 = Memories(
    lut_words=16,
    luts=1.5,  # four take the address of two LUTs
    lut_price=1,
    cell_units=4,
    multiplexer_price=0.5,
    part_price=0.5,
    forms=tuple((0.5, 128, *form) for form in HALF_BLOCK_WIDTHS),
    most_in_luts=0,
    bypass_price=12,
    bank_words=2_048,
    register_words=1,
    fifo_luts=(40, 60),
    fifo_unit=(16, 1.5),
)
"""techlibs/ecp5 of Yosys, lutrams.txt and brams.txt."""

MEMORIES = {"xc7": XC7, "xcup": XC7, "ecp5": ECP5}
"""By `targets.boards.Board.family`."""


def rom_blocks(width: int, depth: int, family: str = "xc7") -> tuple[float, int]:
    """(blocks of 36 kbit, bits chosen among two behind them) of a table of constants; (0, 0) where it is in LUTs.

    Parts of the depth may lie side by side in the words of a block; Yosys takes the cheapest form.
    """
    if depth <= DISTRIBUTED_DEPTH:
        return 0.0, 0
    found = []
    for size, price, deep, wide in MEMORIES[family].forms:
        parts = -(-depth // deep)
        count, chosen = -(-width * parts // wide), width * (parts - 1)
        found.append((count * price + ROM_MULTIPLEXER_PRICE * chosen, count * size, chosen))
    return min(found)[1:]


def ram_blocks(width: int, depth: int) -> float:
    """Blocks of 36 kbit of a memory with one port to write and one to read; 0 where it is in LUTs."""
    return _halves(width, depth) / 2 if depth > DISTRIBUTED_DEPTH else 0.0


def buffer_blocks(width: int, depth: int, family: str = "xc7") -> float:
    """Blocks of 36 kbit of a memory that may be deep and in LUTs: a line buffer, a FIFO; 0 where it is in LUTs."""
    return 0.0 if buffer_bits(width, depth, family) else _halves(width, depth) / 2


def blocks_read(width: int, depth: int, low: int, high: int, family: str = "xc7") -> float:
    """As `buffer_blocks`, where the bits from `low` to below `high` are read: blocks that have none of them go away."""
    if (low, high) == (0, width) or not buffer_blocks(width, depth, family):
        return buffer_blocks(width, depth, family)
    forms = MEMORIES[family].forms
    size, _, deep, wide = min(forms, key=lambda form: form[1] * -(-width // form[3]) * -(-depth // form[2]))
    return size * -(-depth // deep) * (-(-high // wide) - low // wide)


def buffer_bits(width: int, depth: int, family: str = "xc7") -> int:
    """Of such a memory in LUTs, in units (see `Memories`); 0 where it is in blocks."""
    one = MEMORIES[family]
    units, parts = lut_units(width, depth, family), -(-depth // one.lut_words)
    cells = -(-units // one.cell_units)
    in_luts = one.lut_price * one.cell_units * cells + one.multiplexer_price * (units - width) + one.part_price * parts
    in_blocks = one.forms[0][1] * _halves(width, depth) + one.bypass_price
    return units if depth <= one.most_in_luts or in_luts < in_blocks else 0


def lut_units(width: int, depth: int, family: str = "xc7") -> int:
    """Of a memory in LUTs, see `Memories`."""
    return width * -(-depth // MEMORIES[family].lut_words)


def banks(depth: int, family: str = "xc7") -> tuple[int, int]:
    """(memories that a line buffer is made of, words of each)."""
    most = MEMORIES[family].bank_words or depth
    return (1, depth) if depth <= most else (-(-depth // most), most)


def _halves(width: int, depth: int) -> int:
    """Blocks of 18 kbit of a memory that is written."""
    return min(-(-width // wide) * -(-depth // deep) for deep, wide in HALF_BLOCK_WIDTHS)
