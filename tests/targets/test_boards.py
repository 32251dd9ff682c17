"""FPGA boards as data and as TVM targets."""

from __future__ import annotations

import re

import pytest
from tvm.target import Target

from espalier.core.errors import UnsupportedTargetError
from espalier.targets.boards import BOARDS, BY_NAME, Resources
from espalier.targets.fpga import board_of, frames_per_s
from espalier.targets.resolve import as_dict, resolve_target


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_board_is_a_target_under_each_of_its_names(name):
    expected = board_of(resolve_target(f"fpga_hls/{name}"))
    assert expected == BY_NAME[name]
    for other in (Target(f"fpga_hls/{name}"), {"kind": "ext_dev", "device": name}):
        assert board_of(resolve_target(other)) == expected
    assert as_dict(resolve_target(as_dict(resolve_target(f"fpga_hls/{name}")))) == as_dict(Target(f"fpga_hls/{name}"))


@pytest.mark.parametrize(
    ("name", "luts", "ffs", "dsps", "bram_36k", "uram", "source"),
    [
        *((name, 53_200, 106_400, 220, 140, 0, "DS190.*table 1") for name in ("pynq-z1", "pynq-z2", "zedboard")),
        ("zcu104", 230_400, 460_800, 1_728, 312, 96, "DS891.*table 3"),
        ("alveo-u250", 1_728_000, 3_456_000, 12_288, 2_688, 1_280, "DS962.*tables 1 and 2"),
        ("ulx3s-85f", 83_640, 83_640, 156, 104, 0, "FPGA-DS-02012.*table 1.1"),
    ],
)
def test_figures_are_those_of_the_vendors_tables(name, luts, ffs, dsps, bram_36k, uram, source):
    """As printed there; the ECP5's 208 blocks of 18 kbit are 104 of 36."""
    board = BY_NAME[name]
    assert board.resources == Resources(luts, ffs, dsps, bram_36k, uram)
    assert re.search(source, board.sources[0])


def test_every_board_says_where_its_figures_come_from():
    assert {board.name: len(board.sources) for board in BOARDS} == {
        **dict.fromkeys(("pynq-z1", "pynq-z2", "zedboard", "zcu104"), 3),
        "alveo-u250": 2,
        "ulx3s-85f": 4,
    }
    assert all(any(source.startswith("clock: ") for source in board.sources) for board in BOARDS)


def test_options_of_a_target():
    options = {"kind": "ext_dev", "device": "zcu104", "feature.frames_per_s": 250, "feature.clock_hz": 150e6}
    target = resolve_target(options)
    assert frames_per_s(target) == 250
    assert board_of(target).clock_hz == 150e6
    assert frames_per_s(resolve_target(as_dict(target))) == 250
    with pytest.raises(UnsupportedTargetError, match="clock_hz: got 'fast', accepted is a number above 0"):
        resolve_target({**options, "feature.clock_hz": "fast"})


def test_resources_add_up_and_are_compared_one_by_one():
    total = Resources(luts=10, dsps=2) + Resources(luts=5, bram_36k=0.5)
    assert total == Resources(luts=15, dsps=2, bram_36k=0.5)
    assert total.within(Resources(15, 0, 2, 1))
    assert total.beyond(Resources(14, 0, 2, 0)) == ["luts", "bram_36k"]
