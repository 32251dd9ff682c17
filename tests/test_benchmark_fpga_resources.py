"""What the benchmark of the FPGA's resource model makes of synthesized stages."""

from __future__ import annotations

import json

import bench_fpga_resources as bench
import pytest
import torch
from oracles import stream_graphs
from rich.console import Console
from scipy.stats import spearmanr
from support.records import merged_rows

from espalier.codegen.fpga_hls.cost.resources import COEFFICIENTS, coefficients
from espalier.codegen.fpga_hls.network import INPUT, StageNetwork
from espalier.codegen.fpga_hls.stages import Add, Convolution, Gate
from espalier.measure.synthesis.yosys import CellCounts


def point(design: int, lanes: float, luts: float) -> dict:
    """A stage whose LUTs are to be explained by its lanes."""
    counted = {"luts": luts, "ffs": 10 + lanes, "dsps": 2, "bram_36k": 0.5}
    features = {"one": 1.0, "lanes": lanes}
    row = {"design": design, "stage": f"s{lanes}", "class": "MaxPool", "products": None, "features": features}
    return row | {"counted": counted, "from_templates": {"dsps": 2, "bram_36k": 0.0}}


ROUTED = {row["module"]: row for row in merged_rows("fpga_routing", [], ("module",)) if "features" in row}
"""A row of each stage that was placed and routed; seeds only move cells."""

BY_HAND = {"MaxPool": {"luts": {"one": 50, "lanes": 9, "bits": 0}, "ffs": {"one": 10, "lanes": 1, "bits": 2}}}


def test_of_three_rounds_the_second_is_held_out():
    held_out = [design for design in range(40) if bench.is_held_out(design)]
    assert held_out == [*range(6, 12), *range(24, 30)]
    assert {bench.FORMATS[design % 6] for design in held_out[:6]} == set(bench.FORMATS)


def test_many_stages_say_what_the_coefficients_are():
    points = [point(1, lanes, 40 + 20 * lanes) for lanes in range(1, 200)]
    found = bench.fit(points, BY_HAND)["MaxPool"]["luts"]
    assert found == pytest.approx({"one": 40, "lanes": 20, "bits": 0}, rel=0.03)


@pytest.mark.parametrize("points", [[], [point(1, 0, 50)]])
def test_what_no_stage_speaks_of_stays(points):
    found = bench.fit(points, BY_HAND)["MaxPool"]
    assert found["luts"] == pytest.approx(BY_HAND["MaxPool"]["luts"])
    assert found["ffs"] == pytest.approx(BY_HAND["MaxPool"]["ffs"])


def test_the_table_counts_what_is_equal_and_ranks_the_rest():
    points = [point(0, lanes, 50 + 9 * lanes) for lanes in (1, 4, 2)]
    console = Console(record=True, width=160)
    console.print(bench.table(points, BY_HAND))
    said = console.export_text()
    assert "equal in 3 of 6" in said
    assert "1.000" in said
    assert " 0.0 " in said


@pytest.mark.parametrize(("netlist", "cells"), [("same", 7), ("other", 900), (None, 900)])
def test_a_stage_of_another_netlist_is_counted_again(netlist, cells, monkeypatch):
    stage = stream_graphs.one_conv(2, 4, (2, 2), kernel=(1, 1)).stages[0]
    network = StageNetwork(stage.in_shape, (stage,), {(stage.name, "x"): INPUT}, (stage.name, "y"), {})
    known = {"design": 3, "stage": stage.name, "counted": {"luts": 7}} | ({"netlist": netlist} if netlist else {})
    monkeypatch.setattr(bench, "sample", lambda number: network)
    monkeypatch.setattr(bench, "recorded", lambda points, family: [known])
    monkeypatch.setattr(bench, "netlist_digest", lambda folder, module: "same")
    monkeypatch.setattr(bench, "synthesize", lambda folder, module: CellCounts({"LUT6": 900}))
    (row,) = bench.synthesized(3)
    assert (row["counted"]["luts"], row["netlist"]) == (cells, "same")


def test_a_netlist_for_an_ecp5_is_counted_as_it_is_packed():
    """Two chains of carries, of two cells and of one, and a memory of 16 words of 4 bits."""
    chain = [{"CIN": ["0"], "COUT": [7]}, {"CIN": [7], "COUT": [8]}, {"CIN": ["1"], "COUT": [9]}]
    cells = [{"type": "CCU2C", "connections": ports} for ports in chain]
    cells += [
        {"type": kind, "connections": {}} for kind in ("LUT4", "PFUMX", "TRELLIS_DPR16X4", "TRELLIS_FF", "DP16KD")
    ]
    assert bench.packed(cells) == {"luts": 1 + 3 * 2 + 2 * 4 + 6, "ffs": 1, "dsps": 0, "bram_36k": 0.5}


def test_the_second_network_has_the_stages_that_the_first_lacks():
    shape = torch.zeros(1, 3, 16, 16)
    assert bench.Lists()(shape).shape == bench.Sample()(shape).shape == (1, 10)
    stages = stream_graphs.gated_network().stages
    counted = {type(stage).__name__ for stage in stages if bench.is_counted(stage, bench.FIRST_OF_LISTS)}
    assert counted >= {"Gate", "Convolution"}
    assert not any(bench.is_counted(one, bench.FIRST_OF_LISTS) for one in stages if not is_listed(one))


def is_listed(stage) -> bool:
    return isinstance(stage, Gate | Add) or (isinstance(stage, Convolution) and stage.is_listed)


@pytest.mark.parametrize("family", bench.PARTS)
def test_the_coefficients_are_what_the_record_makes_of_the_estimates_by_hand(family):
    data, points = json.loads(COEFFICIENTS.read_text())[family], bench.seen(bench.recorded([], family))
    assert data["fitted_to"] == sorted({point["design"] for point in points})
    for kind, resources in bench.fit(points, data["by_hand"]).items():
        for resource, expected in resources.items():
            assert data["coefficients"][kind][resource] == pytest.approx(expected, rel=0.01, abs=0.001)


@pytest.mark.parametrize("family", bench.PARTS)
@pytest.mark.parametrize("group", ["all", "convolutions"])
def test_the_coefficients_of_the_package_rank_stages_they_were_not_fitted_to(group, family):
    rows = dict(bench.groups([row for row in bench.recorded([], family) if bench.is_held_out(row["design"])]))[group]
    counted = [row["counted"]["luts"] for row in rows]
    guessed = [bench.predicted(row, coefficients(family), "luts") for row in rows]
    assert len(rows) >= 30
    assert spearmanr(counted, guessed).statistic >= bench.BAR


def test_the_coefficients_for_an_ecp5_rank_convolutions_that_were_routed():
    """Of other networks; see `test_routed_stages_take_what_the_models_say` for their sizes."""
    rows = [row for row in ROUTED.values() if row["class"] == "Convolution"]
    guessed = [bench.predicted(row, coefficients("ecp5"), "luts") for row in rows]
    assert len(rows) >= 12
    assert spearmanr([row["used"]["TRELLIS_COMB"] for row in rows], guessed).statistic >= bench.BAR


@pytest.mark.parametrize("row", ROUTED.values(), ids=ROUTED)
def test_routed_stages_take_what_the_models_say(row):
    """Of an ECP5: blocks and multipliers are equal, LUTs and flip-flops within 30 %, or ten of the smallest stages.

    Gates within 35 %: the routed one reads one channel at a time, those that are counted four and more.
    """
    near = 0.35 if row["class"] == "Gate" else 0.3
    used = {"luts": row["used"]["TRELLIS_COMB"], "ffs": row["used"]["TRELLIS_FF"]}
    for resource, number in used.items():
        assert bench.predicted(row, coefficients("ecp5"), resource) == pytest.approx(number, rel=near, abs=10), resource
    blocks = sum(row["used"].get(cell, 0) * size for cell, size in bench.ECP5_CELLS["bram_36k"].items())
    assert row["from_templates"] == {"dsps": row["used"].get("MULT18X18D", 0), "bram_36k": blocks}
