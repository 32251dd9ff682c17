"""A stream graph to the files of a Vitis HLS project: pure, the same graph gives the same bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..graph import Adapter, Add, Convolution, Edge, Fork, MaxPool, MeanPool, Stage, StreamGraph
from ..weight_codes import codes, ordered
from .parameters import structs

TEMPLATES = Path(__file__).parents[1] / "templates" / "hls"
SOURCES = ("*.h", "*.cpp")
NUMBERS = {8: "uint8_t", 32: "int32_t"}
PER_LINE = 24
INNER_DEPTH = "ESPALIER_INNER_DEPTH"


def emit(graph: StreamGraph, part: str, clock_hz: float) -> dict[str, str]:
    """Path in the project -> text.

    part: of the vendor's tool, such as "xc7z020clg400-1".
    """
    files = {f"src/{path.name}": path.read_text() for kind in SOURCES for path in sorted(TEMPLATES.glob(kind))}
    for path in sorted(TEMPLATES.glob("*/*")):
        files[f"{path.parent.name}/{path.name}"] = path.read_text()
    files["tcl/settings.tcl"] = f"set part {part}\nset period_ns {1e9 / clock_hz:.3f}\n"
    files["src/parameters.h"] = _guarded("PARAMETERS", _parameters(graph))
    files["src/accelerator.h"] = _guarded("ACCELERATOR", _header(graph))
    files["src/accelerator.cpp"] = _lines(_accelerator(graph))
    for stage in graph.convolutions():
        files[f"src/weights/{stage.name}.h"] = _guarded(f"WEIGHTS_{stage.name}", _weights(stage))
    return dict(sorted(files.items()))


def _parameters(graph: StreamGraph) -> Iterator[str]:
    yield "// What each stage's template is filled with."
    yield "#include <cstdint>"
    yield '#include "multiply.h"'
    for stage in graph.stages:
        for ending, constants in structs(stage).items():
            yield f"struct {stage.name}_{ending} {{"
            for name, value in constants.items():
                kind = "espalier::product_kind" if name == "kind" else "int"
                yield f"    static constexpr {kind} {name} = {value};"
            yield "};"


def _header(graph: StreamGraph) -> Iterator[str]:
    yield "// The accelerator: images in, results out."
    yield '#include "edges.h"'
    yield "namespace accelerator {"
    for name, edge in (("IN", graph.input), ("OUT", graph.output)):
        yield f"constexpr int {name}_BEATS = {edge.beats}, {name}_LANES = {edge.lanes};"
        yield f"typedef {NUMBERS[edge.bits]} {name.lower()}_number;"
        word = f"espalier::axis<{name.lower()}_number, {name}_LANES>::word"
        yield f"typedef {word} {name.lower()}_word;"
    yield "}"
    yield "void run_accelerator(hls::stream<accelerator::in_word>& in, hls::stream<accelerator::out_word>& out);"


def _weights(stage: Convolution) -> Iterator[str]:
    yield f"// Of the stage {stage.name}: codes [group][cycle][output channel][input], see multiply.h."
    yield "#include <cstdint>"
    yield f"namespace {stage.name} {{"
    yield from _array("int8_t", "weights", ordered(stage, codes(stage)))
    by_group = (stage.groups, stage.folding.pe)
    yield from _array("int32_t", "bias", stage.bias.reshape(by_group))
    if stage.multiplier is not None:
        yield from _array("int32_t", "multiplier", stage.multiplier.reshape(by_group))
    yield "}"


def _array(kind: str, name: str, values: np.ndarray) -> Iterator[str]:
    sizes = "".join(f"[{size}]" for size in values.shape)
    yield f"static const {kind} {name}{sizes} ="
    yield f"{_braced(values)};"


def _braced(values: np.ndarray) -> str:
    if values.ndim > 1:
        return "{" + ",\n".join(map(_braced, values)) + "}"
    numbers = list(map(str, values.tolist()))
    return "{" + ",\n".join(", ".join(numbers[at : at + PER_LINE]) for at in range(0, len(numbers), PER_LINE)) + "}"


def _accelerator(graph: StreamGraph) -> Iterator[str]:
    yield "// Every stage runs at the same time as the others; streams between them are as deep as they need to be."
    yield '#include "accelerator.h"'
    for name in ("multiply", "multiply_focused", "parameters", "pool", "requantize", "streams", "window"):
        yield f'#include "{name}.h"'
    for stage in graph.convolutions():
        yield f'#include "weights/{stage.name}.h"'
    yield "using namespace espalier;"
    yield "void run_accelerator(hls::stream<accelerator::in_word>& in, hls::stream<accelerator::out_word>& out) {"
    yield "#pragma HLS INTERFACE axis port = in"
    yield "#pragma HLS INTERFACE axis port = out"
    yield "#pragma HLS INTERFACE ap_ctrl_none port = return"
    yield "#pragma HLS DATAFLOW"
    for edge in graph.edges:
        yield _declared(edge.name, _beat(edge), edge.depth)
    for stage in graph.stages:
        yield from (_declared(*stream) for stream in _inner_streams(stage))
    yield "    ESPALIER_DATAFLOW_BEGIN"
    first, last = graph.input, graph.output
    yield _call("input", f"from_host<{first.beats}>(in, {first.name})")
    for stage in graph.stages:
        yield from _calls(graph, stage)
    yield _call("output", f"to_host<{last.beats}>({last.name}, out)")
    yield "    ESPALIER_DATAFLOW_END"
    yield "}"


def _beat(edge: Edge) -> str:
    return f"beat<{NUMBERS[edge.bits]}, {edge.lanes}>"


def _declared(name: str, kind: str, depth: int | str) -> str:
    return f'    hls::stream<{kind}, {depth}> {name}("{name}");'


def _inner_streams(stage: Stage) -> Iterator[tuple[str, str, str]]:
    """(name, type, depth) of the streams within a stage."""
    if isinstance(stage, Convolution):
        yield f"{stage.name}_windows", f"window_word<{stage.folding.taps}, {stage.in_lanes}>", INNER_DEPTH
        yield f"{stage.name}_sums", f"beat<int32_t, {stage.folding.pe}>", INNER_DEPTH
    if isinstance(stage, MaxPool):
        yield f"{stage.name}_windows", f"window_word<{math.prod(stage.kernel)}, {stage.lanes}>", INNER_DEPTH


def _calls(graph: StreamGraph, stage: Stage) -> Iterator[str]:
    """The calls of the templates that a stage is made of."""
    name = stage.name
    reads, writes = ([edge.name for edge in edges] for edges in (graph.into(stage), graph.out_of(stage)))
    if isinstance(stage, Convolution):
        multiply = "multiply_focused" if stage.products.kind == "focused" else "multiply"
        yield _call(f"{name}.window", f"window<{name}_window>({reads[0]}, {name}_windows)")
        weights = f"{name}::weights, {name}::bias"
        yield _call(f"{name}.multiply", f"{multiply}<{name}_multiply>({name}_windows, {name}_sums, {weights})")
        yield _call(f"{name}.requantize", _ending(stage, reads[1:], writes[0]))
    elif isinstance(stage, MaxPool):
        yield _call(f"{name}.window", f"window<{name}_window>({reads[0]}, {name}_windows)")
        yield _call(f"{name}.pool", f"greatest<{name}_pool>({name}_windows, {writes[0]})")
    elif isinstance(stage, MeanPool):
        yield _call(name, f"mean<{name}_mean>({reads[0]}, {writes[0]})")
    elif isinstance(stage, Add):
        yield _call(name, f"add<{name}_add>({reads[0]}, {reads[1]}, {writes[0]})")
    else:
        yield _call(name, _passing(graph, stage, reads[0], writes))


def _ending(stage: Convolution, residual: list[str], out: str) -> str:
    name = stage.name
    if stage.multiplier is None:
        return f"pass_sums<{name}_requantize>({name}_sums, {out})"
    function = "requantize_with_residual" if residual else "requantize"
    return f"{function}<{name}_requantize>({', '.join([f'{name}_sums', *residual, out, f'{name}::multiplier'])})"


def _passing(graph: StreamGraph, stage: Stage, read: str, writes: list[str]) -> str:
    before = graph.into(stage)[0]
    if isinstance(stage, Fork):
        return f"copy_stream<{before.beats}>({', '.join([read, *writes])})"
    assert isinstance(stage, Adapter)
    function = "widen" if stage.in_lanes < stage.out_lanes else "narrow"
    beats = math.prod(stage.in_shape) // max(stage.in_lanes, stage.out_lanes)
    return f"{function}<{beats}>({read}, {writes[0]})"


def _call(name: str, call: str) -> str:
    return f'    ESPALIER_STAGE("{name}", {call});'


def _guarded(name: str, lines: Iterator[str]) -> str:
    guard = f"ESPALIER_{name.upper()}_H"
    return _lines([f"#ifndef {guard}", f"#define {guard}", *lines, "#endif"])


def _lines(lines) -> str:
    return "\n".join(lines) + "\n"
