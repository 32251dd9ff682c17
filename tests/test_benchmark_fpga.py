"""The benchmark of the accelerator: cells are added to the record of the design that they belong to."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

import bench_fpga
import plot_fpga_pipeline
from oracles.stream_graphs import residual_network
from support.accelerators import DESIGNS

from espalier.codegen.fpga_hls.stages import Adapter, Fork

MIXED, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Has one design, "mixed"."""
    monkeypatch.setattr(bench_fpga, "FOLDER", tmp_path)
    found = {"mixed": {"hardware": MIXED, "top1": 87.4, "total": {"luts": 9}}}
    (tmp_path / "fpga.json").write_text(json.dumps({"results": found}))


@pytest.mark.usefixtures("record")
def test_what_was_simulated_stays():
    assert bench_fpga.recorded("mixed", MIXED)["top1"] == 87.4


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize(("name", "hardware"), [("mixed", OTHER), ("dense", MIXED)])
def test_another_design_is_simulated_first(name, hardware):
    with pytest.raises(SystemExit, match=f"{name}: the record has no such design, simulate it first"):
        bench_fpga.recorded(name, hardware)


@pytest.mark.usefixtures("record")
def test_what_was_synthesized_stays_with_its_design():
    assert bench_fpga.recorded_cells("mixed", MIXED) == {"total": {"luts": 9}}
    assert bench_fpga.recorded_cells("dense", MIXED) == {}
    assert bench_fpga.recorded_cells("mixed", OTHER) == {}


def test_the_cpp_is_of_the_designs_that_were_recorded():
    found = bench_fpga.results()
    emulated = {row["design"]: row for row in json.loads((bench_fpga.FOLDER / "fpga_cpp.json").read_text())["results"]}
    assert emulated.keys() == DESIGNS.keys()
    assert all(found[name]["hardware"] == row["hardware"] for name, row in emulated.items())
    for name, (model, interval) in DESIGNS.items():
        assert model.is_file()
        assert (found[name]["model"], found[name]["interval_bar"]) == (model.name, interval)


def test_without_a_record_there_is_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_fpga, "FOLDER", tmp_path)
    assert bench_fpga.results() == {}


def test_the_drawing_has_every_stage_that_computes_and_what_leads_around_it():
    graph = residual_network()
    figure = plot_fpga_pipeline.drawn(graph)
    said = [text.get_text() for text in figure.axes[0].texts]
    computing = [stage for stage in graph.stages if not isinstance(stage, Fork | Adapter)]
    boxes = [plot_fpga_pipeline.described(stage) for stage in computing]
    assert all(said.count(text) >= boxes.count(text) for text in boxes)
    deepest = max(edge.depth for edge in graph.edges)
    assert any(f"FIFO of {deepest:,}" in text for text in said)
