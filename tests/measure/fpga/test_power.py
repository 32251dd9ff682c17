"""Power by what switches: energies scaled as published, toggles counted in the simulation, nothing guessed."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest

from espalier.codegen.fpga_hls.rtl.beats import beats_of
from espalier.codegen.fpga_hls.rtl.emit import data_bits
from espalier.codegen.fpga_hls.stages import Folding
from espalier.core.errors import InvalidInputError
from espalier.measure.fpga.power import estimated_power, power
from espalier.measure.fpga.rtl_simulation import Switching, build_rtl, read_log
from espalier.targets.boards import BY_NAME, Resources
from espalier.targets.fpga_energy import BLOCK_CYCLE, LUT, MULTIPLIER_BIT
from tests.oracles.stream_graphs import one_conv
from tests.rtl_projects import needs_verilator, written

BOARD = BY_NAME["pynq-z2"]
LOG = (
    "espalier frame={0} first_in={1}\nespalier frame={0} first_out={2} last_out={2}\n"
    "espalier switching bench.bench.design_under_test.conv0.stage.reader.inputs bits=16 toggles=640\n"
    "espalier switching bench.bench.design_under_test.conv0.stage.weight_words bits=64 toggles=0\n"
)


def simulation(folder, frames=2, text=LOG):
    said = "".join(text.format(number, 10 + 100 * number, 100 + 100 * number) for number in range(frames))
    return read_log(said, [0] * frames, frames, folder / "log")


def test_logic_in_typical_designs_takes_what_was_published_scaled():
    virtex_ii = dataclasses.replace(BOARD, process_m=150e-9, core_v=1.5, clock_hz=1e6)
    found = power(virtex_ii, Resources(luts=8), 0.125)
    assert math.isclose(found.total_w, 5.9e-6)
    assert found.dsps_w == found.blocks_w == 0
    here = power(dataclasses.replace(BOARD, clock_hz=1e6), Resources(luts=8), 0.125)
    assert math.isclose(here.total_w, 5.9e-6 * 28 / 150 / 1.5**2)
    assert math.isclose(power(virtex_ii, Resources(luts=8), 0.0).total_w, 0.14 * 5.9e-6)


def test_multipliers_switch_with_their_operands_and_blocks_with_the_clock():
    stratix = dataclasses.replace(BOARD, process_m=40e-9, core_v=0.9, clock_hz=1e8)
    busy, idle = (power(stratix, Resources(dsps=2, bram_36k=1.5), toggles) for toggles in (0.25, 0.0))
    assert math.isclose(busy.dsps_w, 2 * 36 * 0.25 * 1.09e-12 * 1e8)
    assert math.isclose(busy.blocks_w, 1.5 * 18e-12 * 1e8)
    assert (idle.dsps_w, idle.blocks_w) == (0, busy.blocks_w)
    assert busy.label == "estimate"


@pytest.mark.parametrize("energy", [LUT, MULTIPLIER_BIT, BLOCK_CYCLE])
def test_energies_have_a_source_and_fall_with_process_and_voltage(energy):
    assert len(energy.source) > 40
    smaller = dataclasses.replace(BOARD, process_m=BOARD.process_m / 2)
    assert math.isclose(energy.on(smaller), energy.on(BOARD) / 2)
    assert math.isclose(energy.on(dataclasses.replace(BOARD, core_v=2 * BOARD.core_v)), 4 * energy.on(BOARD))


def test_each_word_of_a_stage_counts_as_much(tmp_path):
    program = SimpleNamespace(graph=one_conv(), board=BOARD)
    found = simulation(tmp_path)
    assert found.switching == {"conv0.inputs": Switching(16, 640), "conv0.weight_words": Switching(64, 0)}
    estimate = estimated_power(program, found)["conv0"]
    assert math.isclose(estimate.toggles_per_cycle, (640 / 16 + 0) / 2 / 2 / 100)
    assert estimate.total_w == estimate.logic_w + estimate.dsps_w + estimate.blocks_w > 0


def test_what_was_not_counted_is_refused(tmp_path):
    program = SimpleNamespace(graph=one_conv(), board=BOARD)
    with pytest.raises(InvalidInputError, match="got a simulation of one frame, accepted are 2 or more"):
        estimated_power(program, simulation(tmp_path, frames=1))
    uncounted = simulation(tmp_path, text=LOG.split("espalier switching")[0])
    with pytest.raises(InvalidInputError, match="no switching of stage conv0, accepted is a simulation built with"):
        estimated_power(program, uncounted)


@needs_verilator
def test_weights_of_several_pixels_are_words_of_a_stage(tmp_path):
    graph = one_conv(1, 2, (2, 4), kernel=(1, 3), padding=(0, 1, 0, 1), folding=Folding(1, 2, 3, 2))
    written(graph, tmp_path)
    x = np.zeros(graph.input.shape, np.uint8)
    found = build_rtl(tmp_path, counts_switching=True).run([beats_of(x, graph.input.lanes)], data_bits(graph.input))
    bits = {name: one.bits for name, one in found.switching.items()}
    assert bits == {"conv0.inputs": 3 * 2 * 8, "conv0.weight_words": 2 * 3 * 8}


@needs_verilator
def test_random_images_switch_more_than_empty_ones(tmp_path):
    graph = one_conv(4, 8, (6, 5), folding=Folding(2, 8))
    program = build_rtl(written(graph, tmp_path), counts_switching=True)
    random = np.random.default_rng(0).integers(0, 256, graph.input.shape).astype(np.uint8)
    empty = np.full(graph.input.shape, graph.stages[0].arithmetic.x_zero, np.uint8)
    busy, idle = (
        program.run([beats_of(x, graph.input.lanes)] * 3, data_bits(graph.input)).switching for x in (random, empty)
    )
    words = 3 * graph.stages[0].compute_cycles
    assert busy.keys() == idle.keys() == {"conv0.inputs", "conv0.weight_words"}
    assert [busy[name].bits for name in ("conv0.inputs", "conv0.weight_words")] == [2 * 8, 8 * 2 * 8]
    assert 0.2 < busy["conv0.inputs"].toggles / (16 * words) < 0.55  # a half, but for the padding
    assert idle["conv0.inputs"].toggles <= 16 < busy["conv0.inputs"].toggles
    assert abs(busy["conv0.weight_words"].toggles / (128 * words) - 0.5) < 0.05
    assert busy["conv0.weight_words"].toggles == idle["conv0.weight_words"].toggles
