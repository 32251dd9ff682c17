"""What the resources of an FPGA take for their work: published energies, each with its source, scaled to a part.

Scaling: at each toggle a node takes C V^2 / 2, and capacitances go with the length of the process (constant-field
scaling; Dennard et al., Design of ion-implanted MOSFETs with very small physical dimensions, IEEE JSSC 1974).
"""

from __future__ import annotations

from dataclasses import dataclass

from .boards import Board


@dataclass(frozen=True)
class Energy:
    """energy_j: of one event, in silicon of this process at this voltage of the core. source: of the figures."""

    energy_j: float
    process_m: float
    core_v: float
    source: str

    def on(self, board: Board) -> float:
        """The same event on the part of a board, in joules."""
        return self.energy_j * board.process_m / self.process_m * (board.core_v / self.core_v) ** 2


VIRTEX_II = (
    "Shang, Kaviani, Bathala, Dynamic power consumption in Virtex-II FPGA family, FPGA 2002: 5.9 uW per MHz for a CLB "
    "of 8 LUTs and 8 flip-flops in typical designs, its routing and clock included; AMD DS031: 150 nm, 1.5 V"
)
STRATIX_IV = (
    "Goeders, Wilton, VersaPower, FPT 2012, in VTR's vtr_flow/arch/timing/k6_frac_N10_mem32K_40nm.xml, whose figures "
    "approximate Stratix IV; Intel Stratix IV Device Handbook: 40 nm, 0.9 V"
)

LUT = Energy(5.9e-12 / 8, 150e-9, 1.5, VIRTEX_II)
"""A look-up table with its flip-flop and wires, a cycle in which `TYPICAL_TOGGLES` of its signals change."""

TYPICAL_TOGGLES = 0.125
"""Of a signal in a cycle: the average over designs of customers (AMD UG440, Using the Logic Sheet)."""

CLOCK_SHARE = 0.14
"""Of a LUT's energy, taken by the clock whatever changes (as `VIRTEX_II`)."""

MULTIPLIER_BIT = Energy(1.09e-12, 40e-9, 0.9, STRATIX_IV)
"""A toggle of an input bit of a multiplier of 18 by 18 bits."""

MULTIPLIER_BITS = 36
"""Inputs of such a multiplier."""

BLOCK_CYCLE = Energy(2 * 9.0e-12, 40e-9, 0.9, STRATIX_IV)
"""A cycle of a block RAM of 32 kbit: two toggles of its clock."""
