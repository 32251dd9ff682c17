"""The benchmark of the accelerator: cells are added to the record of the design that they belong to."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

bench_fpga = pytest.importorskip("bench_fpga")
DESIGNS = pytest.importorskip("support.accelerators").DESIGNS


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Of 18,432 cycles; the record has such a design, "mixed"."""
    monkeypatch.setattr(bench_fpga, "FOLDER", tmp_path)
    found = {"mixed": {"predicted_interval_cycles": 18_432, "top1": 87.4, "total": {"luts": 9}}}
    (tmp_path / "fpga.json").write_text(json.dumps({"results": found}))
    return SimpleNamespace(schedule=SimpleNamespace(interval_cycles=18_432))


def test_what_was_simulated_stays(program):
    assert bench_fpga.recorded("mixed", program)["top1"] == 87.4


def test_another_design_is_simulated_first(program):
    program.schedule.interval_cycles = 20_000
    for name in ("mixed", "dense"):
        with pytest.raises(SystemExit, match=f"{name}: the record has no such design, simulate it first"):
            bench_fpga.recorded(name, program)


def test_what_was_synthesized_stays_with_its_design(program):
    assert bench_fpga.recorded_cells("mixed", program) == {"total": {"luts": 9}}
    assert bench_fpga.recorded_cells("dense", program) == {}
    program.schedule.interval_cycles = 20_000
    assert bench_fpga.recorded_cells("mixed", program) == {}


def test_the_cpp_is_of_the_designs_that_were_recorded():
    found = bench_fpga.results()
    for name, (model, interval) in DESIGNS.items():
        assert model.is_file()
        assert (found[name]["model"], found[name]["interval_bar"]) == (model.name, interval)


def test_without_a_record_there_is_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_fpga, "FOLDER", tmp_path)
    assert bench_fpga.results() == {}
