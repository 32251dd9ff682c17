"""Dynamic power of an accelerator, estimated: what switches in the simulated SystemVerilog, times published energies.

Of each stage the simulation counts how often the bits of its operands change, of the inputs and of the weights. The
look-up tables, flip-flops and multipliers of the stage, and the FIFOs that it reads, are taken to switch as often as
these bits; how many there are say the models of resources. Blocks of RAM are read in every cycle.

Not in it: static power, inputs and outputs of the chip, external memory, processors beside the fabric, glitches.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...codegen.fpga_hls.cost.resources import fifo_resources, resources
from ...codegen.fpga_hls.program import FpgaProgram
from ...codegen.fpga_hls.stages import Stage
from ...core.errors import InvalidInputError
from ...core.measurement import PowerEstimate
from ...targets.boards import Board, Resources
from ...targets.fpga_energy import (
    BLOCK_CYCLE,
    CLOCK_SHARE,
    LUT,
    MULTIPLIER_BIT,
    MULTIPLIER_BITS,
    TYPICAL_TOGGLES,
)
from .rtl_simulation import RtlSimulation, Switching


def estimated_power(program: FpgaProgram, found: RtlSimulation) -> dict[str, PowerEstimate]:
    """For each stage, while images come at the interval of the simulation and are like those in it.

    Raises InvalidInputError for a simulation of one frame, or without counts of a stage.
    """
    if found.interval_cycles is None:
        raise InvalidInputError("power: got a simulation of one frame, accepted are 2 or more")
    return {stage.name: _of_stage(program, stage, found) for stage in program.graph.stages}


def _of_stage(program: FpgaProgram, stage: Stage, found: RtlSimulation) -> PowerEstimate:
    counted = [one for place, one in found.switching.items() if place.split(".")[0] == stage.name]
    if not counted:
        raise InvalidInputError(
            f"power: got no switching of stage {stage.name}, accepted is a simulation built with counts_switching"
        )
    used = resources(stage, program.board.family)
    for edge in program.graph.into(stage):
        used += fifo_resources(edge, program.board.family)
    return power(program.board, used, toggles_per_cycle(counted, found))


def toggles_per_cycle(counted: Iterable[Switching], found: RtlSimulation) -> float:
    """Of an average bit, each word counting as much as the others; at the interval of the simulation."""
    rates = [one.toggles / one.bits for one in counted]
    return sum(rates) / len(rates) / len(found.outputs) / found.interval_cycles


def power(board: Board, used: Resources, toggles: float) -> PowerEstimate:
    """Of resources whose signals change `toggles` times a cycle."""
    switching = CLOCK_SHARE + (1 - CLOCK_SHARE) * toggles / TYPICAL_TOGGLES
    return PowerEstimate(
        toggles,
        logic_w=used.luts * switching * LUT.on(board) * board.clock_hz,
        dsps_w=used.dsps * MULTIPLIER_BITS * toggles * MULTIPLIER_BIT.on(board) * board.clock_hz,
        blocks_w=used.bram_36k * BLOCK_CYCLE.on(board) * board.clock_hz,
    )
