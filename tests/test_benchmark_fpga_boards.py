"""M-CifarNet on two boards: refused with the blocks that one lacks, folded for the other."""

from __future__ import annotations

import re

import bench_fpga_boards as bench
import pytest
from rich.console import Console

from espalier.targets.boards import BY_NAME


@pytest.fixture(scope="module")
def rows():
    stages = bench.source().network()
    return {board: bench.described(stages, board) for board in bench.BOARDS}


def test_a_board_with_too_few_blocks_is_refused_with_the_numbers(rows):
    assert rows["pynq-z2"]["weights"] == 1_293_888
    needed, there = re.search(r"needs .*?([\d.]+) blocks of 36 kbit of (\d+)", rows["pynq-z2"]["refused"]).groups()
    assert float(needed) > 1_293_888 * 8 / 36_864 > float(there) == 140


def test_a_larger_board_has_a_design(rows):
    used, have = rows["zcu104"]["estimated"], BY_NAME["zcu104"].resources
    assert rows["zcu104"]["weights"] * 8 / 36_864 < used["bram_36k"] <= have.bram_36k
    assert used["dsps"] <= have.dsps
    assert used["luts"] <= 0.85 * have.luts


def test_the_table_says_both(rows):
    console = Console(record=True, width=220)
    console.print(bench.table(list(rows.values())))
    said = console.export_text()
    assert "blocks of 36 kbit of 140 at" in said
    assert f"{rows['zcu104']['interval_cycles']:,}" in said
