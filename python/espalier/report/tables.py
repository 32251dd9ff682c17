"""Values to tables for a terminal; each fits into 100 columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from espalier.core.layers import LayerRecord
from espalier.core.measurement import AcceleratorMeasurement, Measurement, Timing
from espalier.core.sizes import ProgramSize

NONE = "-"

FEW_BEATS = 8
"""FIFOs that hold no more are not worth a row."""


@dataclass(frozen=True)
class ContenderRow:
    """One line of a comparison. ratio: its median over the median of the first; accuracy, macs: if known."""

    name: str
    timing: Timing
    ratio: float
    version: str = ""
    accuracy: float | None = None
    macs: int | None = None


def layer_table(layers: Sequence[LayerRecord]) -> Table:
    """Layers as the compiler left them: channels, gate, format, multiply-accumulates possible and done.

    Bit operations: see `core.formats.bit_operations`.
    """
    headings = ("layer", "kind", ">in", ">out", "gate", "weights", ">MACs", ">done", ">share", ">bit ops")
    table = _table(*headings)
    for layer in layers:
        table.add_row(
            layer.name,
            layer.operator,
            _active(layer.active_input_channels, layer.input_channels),
            _active(layer.active_channels, layer.channels),
            NONE if layer.gate == "none" else f"{layer.gate} g{layer.granularity}",
            layer.weights,
            quantity(layer.macs_dense),
            quantity(layer.macs),
            percent(layer.macs, layer.macs_dense),
            quantity(layer.bit_operations),
        )
    possible, done = sum(layer.macs_dense for layer in layers), sum(layer.macs for layer in layers)
    bits = quantity(sum(layer.bit_operations for layer in layers))
    table.add_section()
    table.add_row("total", "", "", "", "", "", quantity(possible), quantity(done), percent(done, possible), bits)
    return table


def profile_table(measurement: Measurement) -> Table:
    """Time and work by layer, what belongs to no layer, and the whole."""
    headings = ("layer", ">time", ">share", ">MACs", ">done", ">GFLOP/s", ">in", ">out", "weights", ">bit ops")
    table = _table(*headings)
    measured = sum(one.latency_s for one in measurement.layers) + measurement.glue_s
    for one in measurement.layers:
        layer = one.layer
        table.add_row(
            layer.name,
            duration(one.latency_s),
            percent(one.latency_s, measured),
            quantity(layer.macs_dense),
            quantity(layer.macs),
            f"{one.gflops:.1f}",
            _active(layer.active_input_channels, layer.input_channels),
            _active(layer.active_channels, layer.channels),
            layer.weights,
            quantity(layer.bit_operations),
        )
    table.add_row("glue", duration(measurement.glue_s), percent(measurement.glue_s, measured))
    table.add_section()
    gflops = 2 * measurement.macs / measurement.latency_s / 1e9 if measurement.latency_s else 0.0
    bits = measurement.bit_operations
    totals = (quantity(measurement.macs_dense), quantity(measurement.macs), f"{gflops:.1f}", "", "", "", quantity(bits))
    table.add_row("whole run", duration(measurement.latency_s), "", *totals)
    return table


def accelerator_tables(measurement: AcceleratorMeasurement) -> tuple[Table, Table]:
    """One row for each stage and, below, for each FIFO that is deeper than a register or two."""

    def text(count: int | None) -> str:
        return NONE if count is None else str(count)

    heads = ("stage", "kind", ">bit ops", ">cycles a frame", ">busy", ">starved", ">blocked", ">fill", ">mW, estimate")
    stages = _table(*heads)
    for one in measurement.stages:
        counts = (one.interval_cycles, one.busy, one.starved, one.blocked, one.fill)
        milliwatts = f"{1e3 * one.power.total_w:.2f}" if one.power else NONE
        bits = quantity(one.bit_operations) if one.bit_operations else NONE
        stages.add_row(one.name, one.kind, bits, *map(text, counts), milliwatts)
    stages.add_section()
    stages.add_row("total", "", quantity(measurement.bit_operations))
    fifos = _table("FIFO", ">holds", ">predicted", ">held")
    for one in measurement.fifos:
        if one.depth > FEW_BEATS:
            fifos.add_row(one.name, *map(text, (one.depth, one.predicted, one.high_water)))
    return stages, fifos


def comparison_table(rows: Sequence[ContenderRow]) -> Table:
    """Contenders that took turns in one process; times the first one's median is the ratio."""
    table = _table("contender", "version", ">median", ">quartiles", ">ratio", ">accuracy")
    for row in rows:
        quartiles = f"{duration(row.timing.quartile1_s)} .. {duration(row.timing.quartile3_s)}"
        accuracy = NONE if row.accuracy is None else f"{100 * row.accuracy:.2f} %"
        table.add_row(row.name, row.version, duration(row.timing.median_s), quartiles, f"{row.ratio:.2f}x", accuracy)
    return table


def demo_table(rows: Sequence[ContenderRow]) -> Table:
    """What gates bring: accuracy, latency and work, and how many times faster than the first."""
    table = _table("contender", ">accuracy", ">latency", ">quartiles", ">MACs", ">speed-up")
    for row in rows:
        quartiles = f"{duration(row.timing.quartile1_s)} .. {duration(row.timing.quartile3_s)}"
        accuracy = NONE if row.accuracy is None else f"{100 * row.accuracy:.1f} %"
        macs = NONE if row.macs is None else quantity(row.macs)
        table.add_row(row.name, accuracy, duration(row.timing.median_s), quartiles, macs, f"{1 / row.ratio:.2f}x")
    return table


def size_table(size: ProgramSize) -> Table:
    """What the parameters of each layer take, at 32 bits and in the weight container, and what saves how much."""
    table = _table(
        "layer", ">parameters", ">zeros", ">bits", ">at 32 bits", ">pruning", ">format", ">coding", ">stored", ">ratio"
    )
    for one in size.layers:
        saved = (space(-cause) for cause in (one.by_pruning, one.by_format, one.by_coding))
        counts = (
            quantity(one.parameters),
            percent(one.zeros, one.parameters),
            str(one.bits) if one.parameters else NONE,
        )
        name = one.name or "(no layer)"
        table.add_row(name, *counts, space(one.dense_bytes), *saved, space(one.coded_bytes), _times(one.ratio))
    table.add_row("container", *[""] * 7, space(size.overhead_bytes))
    table.add_section()
    saved = (
        space(-sum(getattr(one, cause) for one in size.layers)) for cause in ("by_pruning", "by_format", "by_coding")
    )
    parameters, zeros = (sum(getattr(one, name) for one in size.layers) for name in ("parameters", "zeros"))
    table.add_row(
        *("total", quantity(parameters), percent(zeros, parameters), "", space(size.dense_bytes)),
        *(*saved, space(size.container_bytes), _times(size.ratio)),
    )
    return table


def size_sentence(size: ProgramSize) -> str:
    """The whole in one line."""
    return (
        f"Parameters: {space(size.dense_bytes)} at 32 bits, {space(size.container_bytes)} stored, "
        f"{size.ratio:.1f} times smaller; machine code: {space(size.code_bytes)}"
    )


def size_data(size: ProgramSize) -> dict:
    """The same, JSON-able, in bytes."""
    causes = ("by_pruning", "by_format", "by_coding")
    return {
        "dense_bytes": size.dense_bytes,
        "container_bytes": size.container_bytes,
        "code_bytes": size.code_bytes,
        "ratio": size.ratio,
        "layers": [dataclasses.asdict(one) | {name: getattr(one, name) for name in causes} for one in size.layers],
    }


def plain_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Any texts under headings; ">" before one aligns its column right, "+" lets it be wrapped."""
    table = _table(*headings)
    for row in rows:
        table.add_row(*map(str, row))
    return table


def fact_table(facts: Mapping[str, str]) -> Table:
    """Names and values, without headings."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def duration(seconds: float) -> str:
    """Seconds with a fitting unit and three digits: 1.42 ms."""
    factor, unit = (1, "s") if seconds >= 1 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "us")
    return f"{_three_digits(seconds * factor)} {unit}"


def quantity(count: float) -> str:
    """A count with a fitting prefix and three digits: 174 M."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{_three_digits(count / size)} {prefix}"
    return f"{count:.0f}"


def space(count: float) -> str:
    """Bytes with a fitting prefix, 1 kB = 1000 B: 3.21 MB; with its sign if that is below zero."""
    size, sign = abs(count), "-" if count <= -0.5 else ""
    factor, unit = (1e6, "MB") if size >= 1e6 else (1e3, "kB") if size >= 1e3 else (1, "B")
    return f"{sign}{_three_digits(size / factor) if factor > 1 else round(size)} {unit}"


def percent(part: float, whole: float) -> str:
    """A share in whole percent."""
    return f"{100 * part / whole:.0f} %" if whole else NONE


def _three_digits(value: float) -> str:
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def _times(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio else NONE


def _active(active: int, channels: int) -> str:
    return str(channels) if active == channels else f"{active}/{channels}"


def _table(*headings: str) -> Table:
    """Columns by heading, right-aligned after ">". Only names, which come first, and what is after "+" are folded."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, heading in enumerate(headings):
        side = "right" if heading.startswith(">") else "left"
        no_wrap = number > 0 and not heading.startswith("+")
        table.add_column(heading.lstrip(">+"), justify=side, no_wrap=no_wrap, overflow="fold")
    return table
