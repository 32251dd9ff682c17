"""What tables say, and that they fit into 100 columns without a wrapped cell."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from espalier.core.layers import LayerRecord
from espalier.core.measurement import LayerMeasurement, Measurement, Timing
from espalier.core.sizes import LayerSize, ProgramSize
from espalier.report import tables

LAYERS = (
    LayerRecord("stem", "conv2d", 118_013_952, 118_013_952, 64, 64, 3, 3),
    LayerRecord("layer4.1.conv2", "conv2d", 115_605_504, 28_901_376, 512, 256, 512, 256, 16, "output", "focused<5>", 8),
)
TIMING = Timing(1.42e-3, 1.4e-3, 1.5e-3, 20)


def rendered(table, width: int = 100) -> list[str]:
    """The lines that are not empty, without the spaces around them."""
    file = io.StringIO()
    Console(file=file, width=width).print(table)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert all(len(line) <= width and "…" not in line for line in lines)
    return [" ".join(line.split()) for line in lines if line.strip()]


def test_layers():
    heading, rule, stem, last, total = rendered(tables.layer_table(LAYERS))
    assert heading.split()[:2] == ["layer", "kind"]
    assert stem == "stem conv2d 3 64 - float32 118 M 118 M 100 % 121 G"
    assert last == "layer4.1.conv2 conv2d 256/512 256/512 output g16 focused<5> 116 M 28.9 M 25 % 694 M"
    assert total == "total 234 M 147 M 63 % 122 G"
    assert set(rule) == {"─"}


def test_a_long_name_is_folded_and_nothing_else():
    name = "features/stage4/unit12/branch2/convolution"
    layer = LayerRecord(name, "conv2d", 9, 9, 4096, 2048, 4096, 2048, 16, "output", "focused<5>", 8)
    folded = [line.split()[0] for line in rendered(tables.layer_table([layer]))[2:5]]
    assert "".join(folded) == name


@pytest.mark.parametrize("width", [80, 100])
def test_a_column_that_may_be_wrapped_leaves_the_others_whole(width):
    names = ("6ac1f0ee21d1b6c4", "512x512x3x3 to 28x28", "1,024", "1.42 ms")
    choice = "winograd(blocks=2, columns=14, rows=1, split=4, tiles=16, transforms=2)"
    lines = rendered(tables.plain_table(("task", "shape", ">records", ">best", "+choice"), [(*names, choice)]), width)
    assert lines[0] == "task shape records best choice"
    assert lines[2].startswith(" ".join(names))
    assert " ".join(lines[2:]) == " ".join([*names, choice])


def test_no_layers():
    assert rendered(tables.layer_table(()))[-1] == "total 0 0 - 0"


def test_profile():
    layers = (LayerMeasurement(LAYERS[0], 3e-3), LayerMeasurement(LAYERS[1], 1e-3))
    measurement = Measurement(4.5e-3, 146_915_328, 233_619_456, TIMING, layers, glue_s=1e-3)
    lines = rendered(tables.profile_table(measurement))
    assert lines[2] == "stem 3.00 ms 60 % 118 M 118 M 78.7 3 64 float32 121 G"
    assert lines[3] == "layer4.1.conv2 1.00 ms 20 % 116 M 28.9 M 57.8 256/512 256/512 focused<5> 694 M"
    assert lines[4] == "glue 1.00 ms 20 %"
    assert lines[5] == "whole run 4.50 ms 234 M 147 M 65.3 122 G"


def test_comparison():
    rows = [
        tables.ContenderRow("artifact", TIMING, 1.0, "0.1.0", 0.9192),
        tables.ContenderRow("onnxruntime", TIMING, 2.5, "1.31.1"),
    ]
    lines = rendered(tables.comparison_table(rows))
    assert lines[-2] == "artifact 0.1.0 1.42 ms 1.40 ms .. 1.50 ms 1.00x 91.92 %"
    assert lines[-1] == "onnxruntime 1.31.1 1.42 ms 1.40 ms .. 1.50 ms 2.50x -"


def test_demo_gives_the_speed_up_over_the_first():
    rows = [
        tables.ContenderRow("onnxruntime", TIMING, 1.0, accuracy=0.92),
        tables.ContenderRow("espalier, density 0.5", TIMING, 0.25, accuracy=0.9, macs=44_200_000),
    ]
    lines = rendered(tables.demo_table(rows))
    assert lines[0].endswith("speed-up")
    assert lines[-2].endswith("92.0 % 1.42 ms 1.40 ms .. 1.50 ms - 1.00x")
    assert lines[-1].endswith("90.0 % 1.42 ms 1.40 ms .. 1.50 ms 44.2 M 4.00x")


def test_plain_tables_and_facts():
    assert rendered(tables.plain_table(("a", ">b"), [("x", 1)]))[-1] == "x 1"
    assert rendered(tables.fact_table({"cpu": "some"})) == ["cpu some"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 us"),
        (4.2e-7, "0.42 us"),
        (1.234e-5, "12.3 us"),
        (1.42e-3, "1.42 ms"),
        (0.25, "250 ms"),
        (71, "71.0 s"),
    ],
)
def test_durations(seconds, text):
    assert tables.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (960, "960"), (1920, "1.92 k"), (174_301_824, "174 M"), (1.8e9, "1.80 G")]
)
def test_quantities(count, text):
    assert tables.quantity(count) == text


def test_sizes():
    conv = LayerSize("layer1.0.conv1", 40_000, 30_000, 5, 160_000, 45_000.0, 11_250.0, 10_000.0)
    other = LayerSize("", 0, 0, 32, 0, 0.0, 36.0, 20.5)
    size = ProgramSize((conv, other), 479.5, 83_552)
    _, _, first, second, container, total = rendered(tables.size_table(size))
    assert first == "layer1.0.conv1 40.0 k 75 % 5 160 kB -115 kB -33.8 kB -1.25 kB 10.0 kB 16.0x"
    assert second == "(no layer) 0 - - 0 B 0 B 36 B -16 B 20 B -"
    assert container == "container 480 B"
    assert total == "total 40.0 k 75 % 160 kB -115 kB -33.7 kB -1.27 kB 10.5 kB 15.2x"
    assert tables.size_sentence(size) == (
        "Parameters: 160 kB at 32 bits, 10.5 kB stored, 15.2 times smaller; machine code: 83.6 kB"
    )
    assert tables.size_data(size)["container_bytes"] == 10_500
