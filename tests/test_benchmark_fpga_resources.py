"""What the benchmark of the FPGA's resource model makes of synthesized stages."""

from __future__ import annotations

import json

import bench_fpga_resources as bench
import pytest
from rich.console import Console
from scipy.stats import spearmanr

from espalier.codegen.fpga_hls.cost.resources import COEFFICIENTS


def point(design: int, lanes: float, luts: float) -> dict:
    """A stage whose LUTs are to be explained by its lanes."""
    counted = {"luts": luts, "ffs": 10, "dsps": 2, "bram_36k": 0.5}
    features = {"one": 1.0, "lanes": lanes}
    row = {"design": design, "stage": f"s{lanes}", "class": "Pool", "products": None, "features": features}
    return row | {"counted": counted, "from_templates": {"dsps": 2, "bram_36k": 0.0}}


STANDING = {"Pool": {"luts": {"one": 50, "lanes": 9}, "ffs": {"one": 10}}}


def test_many_stages_say_what_the_coefficients_are():
    points = [point(1, lanes, 40 + 20 * lanes) for lanes in range(1, 200)]
    found = bench.fit(points, STANDING)["Pool"]["luts"]
    assert found == pytest.approx({"one": 40, "lanes": 20}, rel=0.03)


def test_what_no_stage_speaks_of_stays():
    found = bench.fit([point(1, 0, 50)], STANDING)["Pool"]["luts"]
    assert found == pytest.approx(STANDING["Pool"]["luts"])


def test_the_table_counts_what_is_equal_and_ranks_the_rest():
    points = [point(0, lanes, 50 + 9 * lanes) for lanes in (1, 4, 2)]
    console = Console(record=True, width=160)
    console.print(bench.table("as it stands", points, STANDING))
    said = console.export_text()
    assert "equal in 3 of 6" in said
    assert "1.000" in said
    assert " 0.0 " in said


def test_the_coefficients_of_the_package_rank_stages_they_were_not_fitted_to():
    data = json.loads(COEFFICIENTS.read_text())
    rows = [row for row in bench.recorded([]) if row["design"] not in data["fitted_to"]]
    counted = [row["counted"]["luts"] for row in rows]
    guessed = [bench.predicted(row, data["coefficients"], "luts") for row in rows]
    assert len(rows) >= 10
    assert spearmanr(counted, guessed).statistic >= bench.BAR
