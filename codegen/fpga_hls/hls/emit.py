"""A stream graph to the files of a Vitis HLS project: pure, the same graph gives the same bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..graph import Edge, StreamGraph
from ..ports import LISTS
from ..rtl.parameters import is_packed
from ..stages import Adapter, Add, Convolution, Fork, Gate, MaxPool, MeanPool, Stage
from ..weight_codes import codes, ordered
from ..windows import taps_read
from .parameters import structs

TEMPLATES = Path(__file__).parents[1] / "templates" / "hls"
SOURCES = ("*.h", "*.cpp")
FOLDERS = ("simulation", "tcl")
NUMBERS = {8: "uint8_t", 16: "uint16_t", 32: "int32_t"}
TEMPLATES_USED = (
    "channel_gate",
    "multiply",
    "multiply_focused",
    "multiply_listed",
    "parameters",
    "pool",
    "requantize",
    "streams",
    "window",
)
PER_LINE = 24
ABOUT = (
    "// Every stage runs at the same time as the others; streams between them are as deep as they need to be. With",
    "// ap_start held at 1 images follow each other. There is an ap_start because window.h reads without blocking, and",
    "// then co-simulation may not end otherwise (AMD UG1399, Non-Blocking API).",
)
INNER_DEPTH = "ESPALIER_INNER_DEPTH"
LIST = "beat<uint16_t, 1>"


def emit(graph: StreamGraph, part: str, clock_hz: float, packs: bool = True) -> dict[str, str]:
    """Path in the project -> text.

    part: of the vendor's tool, such as "xc7z020clg400-1". packs: whether two products share a DSP block.
    """
    files = {f"src/{path.name}": path.read_text() for kind in SOURCES for path in TEMPLATES.glob(kind)}
    for path in (path for folder in FOLDERS for path in (TEMPLATES / folder).iterdir()):
        files[f"{path.parent.name}/{path.name}"] = path.read_text()
    files["tcl/settings.tcl"] = f"set part {part}\nset period_ns {1e9 / clock_hz:.3f}\n"
    files["src/parameters.h"] = _guarded("PARAMETERS", _parameters(graph, packs))
    files["src/accelerator.h"] = _guarded("ACCELERATOR", _header(graph))
    files["src/accelerator.cpp"] = _lines(_accelerator(graph))
    for stage in graph.stages:
        if isinstance(stage, Convolution | Gate):
            arrays = _weights(stage, packs) if isinstance(stage, Convolution) else _predictor(stage)
            files[f"src/weights/{stage.name}.h"] = _guarded(f"WEIGHTS_{stage.name}", arrays)
    return dict(sorted(files.items()))


def _parameters(graph: StreamGraph, packs: bool) -> Iterator[str]:
    yield "// What each stage's template is filled with."
    yield "#include <cstdint>"
    yield '#include "multiply.h"'
    for stage in graph.stages:
        for ending, constants in structs(stage, packs).items():
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


def _weights(stage: Convolution, packs: bool) -> Iterator[str]:
    yield f"// Of the stage {stage.name}: codes [group][cycle][output channel][input], see multiply.h."
    yield "#include <cstdint>"
    yield f"namespace {stage.name} {{"
    yield from _array("int8_t", "weights", _codes(stage, packs))
    by_group = (stage.weight_words[0], stage.folding.pe)
    bias = stage.raw_bias.astype(np.int32)  # wraps like the sums, which end in their range
    yield from _array("int32_t", "bias", bias.reshape(by_group))
    if stage.multiplier is not None:
        multiplier = np.tile(stage.multiplier, stage.out_pixels)
        yield from _array("int32_t", "multiplier", multiplier.reshape(-1, stage.sums_per_group))
    yield "}"


def _codes(stage: Convolution, packs: bool) -> np.ndarray:
    table = ordered(stage, codes(stage)).copy()
    if is_packed(stage, packs):  # the lower weight of a pair has its top bit inverted, see multiply.h
        table[:, :, : stage.folding.pe // 2 * 2 : 2] ^= np.int8(-128)
    return table


def _predictor(stage: Gate) -> Iterator[str]:
    yield f"// Of the gate {stage.name}: [output][input], see channel_gate.h."
    yield "#include <cstdint>"
    yield f"namespace {stage.name} {{"
    yield from _array("int8_t", "phi", stage.phi.T)
    yield from _array("int32_t", "rho", stage.rho)
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
    yield from ABOUT
    yield '#include "accelerator.h"'
    for name in TEMPLATES_USED:
        yield f'#include "{name}.h"'
    for stage in graph.stages:
        if isinstance(stage, Convolution | Gate):
            yield f'#include "weights/{stage.name}.h"'
    yield "using namespace espalier;"
    yield "void run_accelerator(hls::stream<accelerator::in_word>& in, hls::stream<accelerator::out_word>& out) {"
    yield "#pragma HLS INTERFACE axis port = in"
    yield "#pragma HLS INTERFACE axis port = out"
    yield "#pragma HLS INTERFACE ap_ctrl_hs port = return"
    yield "#pragma HLS DATAFLOW"
    for edge in graph.edges:
        yield _declared(edge.name, _beat(edge), _depth(edge))
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


def _depth(edge: Edge) -> int:
    """As the schedule says, but a list waits here as a whole, which the SystemVerilog reads while it comes.

    A gate reads the list of its inputs behind their last pixel, and a requantization its factors behind the winners.
    """
    return max(edge.depth, edge.beats) if edge.sink_port in (*LISTS, "pi") else edge.depth


def _beat(edge: Edge) -> str:
    return f"beat<{NUMBERS[edge.bits]}, {edge.lanes}>"


def _declared(name: str, kind: str, depth: int | str) -> str:
    return f'    hls::stream<{kind}, {depth}> {name}("{name}");'


def _inner_streams(stage: Stage) -> Iterator[tuple[str, str, str]]:
    """(name, type, depth) of the streams within a stage."""
    if isinstance(stage, Convolution):
        yield f"{stage.name}_windows", f"window_word<{taps_read(stage)}, {stage.in_lanes}>", INNER_DEPTH
        yield f"{stage.name}_sums", f"beat<int32_t, {stage.sums_per_group}>", INNER_DEPTH
    if isinstance(stage, Convolution) and stage.is_listed:
        lists = ["all_words"] if not stage.active else []
        lists += ["winners", "winners_again"] if stage.winners else ["all_groups"]
        for name in lists:
            yield f"{stage.name}_{name}", LIST, str(stage.winners.count + 2) if stage.winners else INNER_DEPTH
        if stage.winners and not stage.has_pi:
            yield f"{stage.name}_no_pi", f"beat<uint8_t, {stage.folding.pe}>", "2"
    if isinstance(stage, Gate):
        if not stage.active:
            yield f"{stage.name}_all_channels", LIST, INNER_DEPTH
        if not stage.has_pi:
            yield f"{stage.name}_no_pi", "beat<uint8_t, 1>", "2"
    if isinstance(stage, MaxPool):
        yield f"{stage.name}_windows", f"window_word<{taps_read(stage)}, {stage.lanes}>", INNER_DEPTH


def _calls(graph: StreamGraph, stage: Stage) -> Iterator[str]:
    """The calls of the templates that a stage is made of."""
    name = stage.name
    reads, writes = ([edge.name for edge in edges] for edges in (graph.into(stage), graph.out_of(stage)))
    if isinstance(stage, Convolution) and stage.is_listed:
        yield from _listed_calls(stage, dict(zip(stage.in_ports, reads, strict=True)), writes[0])
    elif isinstance(stage, Gate):
        yield from _gate_calls(stage, reads, writes)
    elif isinstance(stage, Convolution):
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


def _listed_calls(stage: Convolution, reads: dict[str, str], out: str) -> Iterator[str]:
    """As for other convolutions; what has no list is given one of all numbers."""
    name = stage.name
    active, winners = reads.get("active", f"{name}_all_words"), f"{name}_{'winners' if stage.winners else 'all_groups'}"
    if not stage.active:
        yield _call(f"{name}.words", f"every_number<{stage.in_shape[2] // stage.in_lanes}>({active})")
    if not stage.winners:
        yield _call(f"{name}.groups", f"every_number<{stage.groups}>({winners})")
    else:
        yield _call(
            f"{name}.winners", f"copy_stream<{stage.winners.count}>({reads['winners']}, {winners}, {winners}_again)"
        )
    yield _call(f"{name}.window", f"window<{name}_window>({reads['x']}, {name}_windows)")
    streams = f"{name}_windows, {active}, {winners}, {name}_sums"
    yield _call(f"{name}.multiply", f"multiply_listed<{name}_multiply>({streams}, {name}::weights, {name}::bias)")
    if not stage.winners:
        yield _call(f"{name}.requantize", _ending(stage, [reads[port] for port in reads if port == "residual"], out))
        return
    streams = f"{name}_sums, {winners}_again, {reads.get('pi', f'{name}_no_pi')}, {out}"
    yield _call(f"{name}.requantize", f"requantize_listed<{name}_requantize>({streams}, {name}::multiplier)")


def _gate_calls(stage: Gate, reads: list[str], writes: list[str]) -> Iterator[str]:
    name = stage.name
    active = reads[1] if stage.active else f"{name}_all_channels"
    if not stage.active:
        yield _call(f"{name}.channels", f"every_number<{len(stage.phi)}>({active})")
    streams = ", ".join([reads[0], active, *writes, *([] if stage.has_pi else [f"{name}_no_pi"])])
    yield _call(name, f"channel_gate<{name}_gate>({streams}, {name}::phi, {name}::rho)")


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
