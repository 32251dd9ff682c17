"""FPGA boards: what fits on each, each figure with its source."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

KIND, PREFIX = "ext_dev", "fpga_hls"
"""Of a target: the kind that TVM knows, and what our names of targets begin with."""


@dataclass(frozen=True)
class Resources:
    """What a design takes or a part has.

    luts: of 6 inputs, of 4 on an ECP5. dsps: DSP48 slices, or multipliers of 18 by 18 bits. bram_36k: blocks of 36
    kilobits, halves counted; uram: of 288 kilobits.
    """

    luts: float = 0
    ffs: float = 0
    dsps: float = 0
    bram_36k: float = 0
    uram: float = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other))))

    def within(self, limit: Resources) -> bool:
        """Whether no resource is above the limit."""
        return not self.beyond(limit)

    def beyond(self, limit: Resources) -> list[str]:
        """The names of the resources that are above the limit."""
        return [
            field.name for field in dataclasses.fields(self) if getattr(self, field.name) > getattr(limit, field.name)
        ]


RESOURCE_NAMES = {
    "luts": "LUTs",
    "ffs": "flip-flops",
    "dsps": "DSP blocks",
    "bram_36k": "blocks of 36 kbit",
    "uram": "blocks of ultra RAM",
}
"""What tables and messages call the fields of `Resources`."""


@dataclass(frozen=True)
class Board:
    """A board, and the part on it by the vendor's name.

    family: "xc7", "xcup" or "ecp5", what synthesis is told. clock_hz: for which designs are made unless said otherwise.
    memory_bytes_per_s: to the external memory, its peak. process_m: of the silicon, 28 nm for
    instance; core_v: the voltage of its logic. sources: of these figures.
    """

    name: str
    part: str
    family: str
    resources: Resources
    clock_hz: float
    memory_bytes_per_s: float
    process_m: float
    core_v: float
    sources: tuple[str, ...]

    @property
    def packs(self) -> bool:
        """As `packs` of its family."""
        return packs(self.family)


def packs(family: str) -> bool:
    """Whether a DSP block multiplies 25 by 18 bits and so two numbers of 8 bits by a third: not 18 by 18 bits."""
    return family != "ecp5"


XC7Z020 = Resources(luts=53_200, ffs=106_400, dsps=220, bram_36k=140)
ZYNQ_7000 = "AMD DS190, Zynq-7000 SoC Data Sheet: Overview, table 1 (Z-7020); AMD DS187, table 2: 1.0 V"
OUR_CLOCK = "clock: our choice"

BOARDS = (
    Board(
        "pynq-z2",
        "xc7z020clg400-1",
        "xc7",
        XC7Z020,
        100e6,
        2.1e9,
        28e-9,
        1.0,
        (ZYNQ_7000, "TUL PYNQ-Z2 reference manual: DDR3, 16 bits at 1,050 Mbit/s", "clock: that of its base overlay"),
    ),
    Board(
        "pynq-z1",
        "xc7z020clg400-1",
        "xc7",
        XC7Z020,
        100e6,
        2.1e9,
        28e-9,
        1.0,
        (ZYNQ_7000, "Digilent PYNQ-Z1 reference manual: DDR3, 16 bits at 1,050 Mbit/s", "clock: as for PYNQ-Z2"),
    ),
    Board(
        "zedboard",
        "xc7z020clg484-1",
        "xc7",
        XC7Z020,
        100e6,
        4.264e9,
        28e-9,
        1.0,
        (ZYNQ_7000, "Digilent ZedBoard reference manual: DDR3, 32 bits at 1,066 Mbit/s", "clock: as for PYNQ-Z2"),
    ),
    Board(
        "zcu104",
        "xczu7ev-ffvc1156-2-e",
        "xcup",
        Resources(luts=230_400, ffs=460_800, dsps=1_728, bram_36k=312, uram=96),
        200e6,
        19.2e9,
        16e-9,
        0.85,
        (
            "AMD DS891, Zynq UltraScale+ MPSoC Data Sheet: Overview, table 3 (ZU7EV); AMD DS925, table 2: 0.85 V",
            "AMD UG1267, ZCU104 Board User Guide: DDR4, 64 bits at 2,400 Mbit/s",
            OUR_CLOCK,
        ),
    ),
    Board(
        "alveo-u250",
        "xcu250-figd2104-2L-e",
        "xcup",
        Resources(luts=1_728_000, ffs=3_456_000, dsps=12_288, bram_36k=2_688, uram=1_280),
        200e6,
        77e9,
        16e-9,
        0.85,
        ("AMD DS962, Alveo U200 and U250 Data Sheet, tables 1 and 2; AMD DS923, table 2: 0.85 V", OUR_CLOCK),
    ),
    Board(
        "ulx3s-85f",
        "LFE5U-85F-6BG381C",
        "ecp5",
        Resources(luts=83_640, ffs=83_640, dsps=156, bram_36k=104),
        50e6,
        286e6,
        40e-9,
        1.1,
        (
            "Lattice FPGA-DS-02012, ECP5 Family, table 1.1: 84 K LUT4, 156 multipliers, 208 blocks of 18 kbit",
            "Lattice FPGA-DS-02012, section 3: 1.1 V",
            "ULX3S manual: SDRAM, 16 bits at 143 MHz",
            OUR_CLOCK,
        ),
    ),
)
BY_NAME = {board.name: board for board in BOARDS}


def tag_options(board: Board) -> dict:
    """What `Target("fpga_hls/<board>")` stands for."""
    return {"kind": KIND, "keys": [PREFIX], "model": board.name, "device": board.name}
