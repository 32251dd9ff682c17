"""A stream graph to the files of a SystemVerilog project: pure, the same graph gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..cost.cycles import interval_cycles
from ..graph import Edge, StreamGraph
from ..ports import NUMBER_BITS
from ..stages import Convolution, Gate, Stage
from .parameters import Module, module_of

TEMPLATES = Path(__file__).parents[1] / "templates" / "rtl"
NARROW = TEMPLATES / "narrow"
"""What takes the place of templates of the same name where DSP blocks multiply 18 by 18 bits."""

TOP, BENCH = "accelerator", "bench"

PATIENCE, MOST_PATIENCE = 100_000, 2**31 - 2
"""Cycles without a beat at either end of a design that are no deadlock, however fast it is; and the most, which an int
can pass."""


def emit(graph: StreamGraph, packs: bool = True) -> dict[str, str]:
    """Path in the project -> text.

    packs: see `targets.boards.Board`; without, wide products are made of narrow ones (templates/rtl/narrow).

    rtl/: the templates, a module for each stage and the top module; the tables of constants lie beside them, and tools
    that read them run there. bench.sv: the test bench of this graph.
    """
    folders = [TEMPLATES, *([] if packs else [NARROW])]
    files = {f"rtl/{path.name}": path.read_text() for folder in folders for path in folder.glob("*.sv")}
    for stage in graph.stages:
        module = module_of(stage, packs)
        files[f"rtl/{stage_module(stage)}.sv"] = _lines(_stage(graph, stage, module))
        files |= {f"rtl/{name}": text for name, text in module.tables.items()}
    files[f"rtl/{TOP}.sv"] = _lines(_top(graph))
    files[f"rtl/{BENCH}.sv"] = _lines(_bench(graph))
    return dict(sorted(files.items()))


def stage_module(stage: Stage) -> str:
    """The name of the module of a stage."""
    return f"stage_{stage.name}"


def data_bits(edge: Edge) -> int:
    """Of a beat at the edges of the design: whole bytes."""
    return -(-edge.lanes * edge.bits // 8) * 8


def patience(graph: StreamGraph) -> int:
    """Cycles without a beat at either end of the design after which it is in a deadlock.

    In any cycle of one that is not some stage is at work, so that no frame takes longer than all stages one after the
    other. Twice that leaves room for what fills the stages.
    """
    return min(max(PATIENCE, 2 * sum(map(interval_cycles, graph.stages))), MOST_PATIENCE)


def _stage(graph: StreamGraph, stage: Stage, module: Module) -> Iterator[str]:
    reads, writes = graph.into(stage), graph.out_of(stage)
    yield f"// The stage {stage.name}: {stage.in_shape} to {stage.out_shape}."
    yield f"module {stage_module(stage)} ("
    yield "    input logic clk,"
    yield "    input logic rst,"
    ports = [*_ports(reads, stage, True), *_ports(writes, stage, False)]
    yield ",\n".join(f"    {port}" for port in ports)
    yield ");"
    absent = [f"no_{port}" for port, _ in _absent(stage)]
    if isinstance(stage, Gate) and not stage.has_pi:
        absent += ["no_pi", "no_pi_data"]
        yield "  logic [7:0] no_pi_data;"
    if absent:
        yield f"  logic {', '.join(one for one in absent if one != 'no_pi_data')}, unused;"
        yield f"  assign unused = &{{1'b0, {', '.join(absent)}}};"
    yield f"  {module.name} #("
    yield ",\n".join(f"      .{name}({_literal(value)})" for name, value in module.parameters.items())
    yield "  ) stage ("
    yield ",\n".join(f"      {port}" for port in _inner_connections(stage, module, reads, writes))
    yield "  );"
    yield "endmodule"


def _ports(edges: list[Edge], stage: Stage, is_input: bool) -> Iterator[str]:
    for edge in edges:
        port = edge.sink_port if is_input else edge.source_port
        there, back = ("input", "output") if is_input else ("output", "input")
        name = f"{'in' if is_input else 'out'}_{port}"
        yield f"{there} logic {name}_valid"
        yield f"{back} logic {name}_ready"
        yield f"{there} logic [{edge.lanes * edge.bits - 1}:0] {name}_data"


def _inner_connections(stage: Stage, module: Module, reads: list[Edge], writes: list[Edge]) -> Iterator[str]:
    yield ".clk"
    yield ".rst"
    for edge in reads:
        for signal in ("valid", "ready", "data"):
            yield f".{edge.sink_port}_{signal}(in_{edge.sink_port}_{signal})"
    for port, bits in _absent(stage):
        yield f".{port}_valid(1'b0)"
        yield f".{port}_ready(no_{port})"
        yield f".{port}_data({bits}'d0)"
    if isinstance(stage, Gate):
        for port in stage.out_ports:
            for signal in ("valid", "ready", "data"):
                yield f".{port}_{signal}(out_{port}_{signal})"
        if not stage.has_pi:
            yield ".pi_valid(no_pi)"
            yield ".pi_ready(1'b1)"
            yield ".pi_data(no_pi_data)"
        return
    for signal in ("valid", "ready", "data"):
        ends = [f"out_{edge.source_port}_{signal}" for edge in reversed(writes)]
        yield f".y_{signal}({ends[0] if len(ends) == 1 else '{' + ', '.join(ends) + '}'})"


def _absent(stage: Stage) -> Iterator[tuple[str, int]]:
    """(port, bits) of the streams that a template can read and this stage has not."""
    bits = {}
    if isinstance(stage, Convolution):
        lanes = {"residual": stage.out_lanes * 8, "pi": stage.folding.pe * 8}
        bits = {port: lanes.get(port, NUMBER_BITS) for port in ("residual", "active", "winners", "pi")}
    if isinstance(stage, Gate):
        bits = {"active": NUMBER_BITS}
    yield from ((port, width) for port, width in bits.items() if port not in stage.in_ports)


def _top(graph: StreamGraph) -> Iterator[str]:
    first, last = graph.input, graph.output
    yield "// The whole accelerator: stages at work at the same time, and the streams between them."
    yield f"module {TOP} ("
    yield "    input logic clk,"
    yield "    input logic rst,"
    yield "    input logic s_axis_tvalid,"
    yield "    output logic s_axis_tready,"
    yield f"    input logic [{data_bits(first) - 1}:0] s_axis_tdata,"
    yield "    input logic s_axis_tlast,"
    yield "    output logic m_axis_tvalid,"
    yield "    input logic m_axis_tready,"
    yield f"    output logic [{data_bits(last) - 1}:0] m_axis_tdata,"
    yield "    output logic m_axis_tlast"
    yield ");"
    for edge in graph.edges:
        yield from _stream(edge)
    for stage in graph.stages:
        yield from _instance(graph, stage)
    yield from _edges_of_the_design(graph)
    yield "endmodule"


def _stream(edge: Edge) -> Iterator[str]:
    name, width = edge.name, edge.lanes * edge.bits
    yield f"  // {edge.source or 'host'} to {edge.sink or 'host'}: {edge.shape}, {edge.lanes} x {edge.bits} bits"
    yield f"  logic {name}_put_valid, {name}_put_ready, {name}_get_valid, {name}_get_ready;"
    yield f"  logic [{width - 1}:0] {name}_put_data, {name}_get_data;"
    yield f"  logic [$clog2({edge.depth} + 1)-1:0] {name}_level;"
    yield f"  stream_fifo #(.WIDTH({width}), .DEPTH({edge.depth})) fifo_{name} ("
    yield "      .clk,"
    yield "      .rst,"
    for inner, outer in (("in", "put"), ("out", "get")):
        for signal in ("valid", "ready", "data"):
            yield f"      .{inner}_{signal}({name}_{outer}_{signal}),"
    yield f"      .level({name}_level)"
    yield "  );"


def _instance(graph: StreamGraph, stage: Stage) -> Iterator[str]:
    yield f"  {stage_module(stage)} {stage.name} ("
    connections = [".clk", ".rst"]
    for edges, port, side in ((graph.into(stage), "in", "get"), (graph.out_of(stage), "out", "put")):
        for edge in edges:
            own = edge.sink_port if port == "in" else edge.source_port
            connections += [
                f".{port}_{own}_{signal}({edge.name}_{side}_{signal})" for signal in ("valid", "ready", "data")
            ]
    yield ",\n".join(f"      {one}" for one in connections)
    yield "  );"


def _edges_of_the_design(graph: StreamGraph) -> Iterator[str]:
    first, last = graph.input, graph.output
    given = first.lanes * first.bits
    yield f"  assign {first.name}_put_valid = s_axis_tvalid;"
    yield f"  assign s_axis_tready = {first.name}_put_ready;"
    yield f"  assign {first.name}_put_data = s_axis_tdata[{given - 1}:0];"
    yield f"  assign m_axis_tvalid = {last.name}_get_valid;"
    yield f"  assign {last.name}_get_ready = m_axis_tready;"
    yield f"  assign m_axis_tdata = {data_bits(last)}'({last.name}_get_data);"
    yield f"  localparam int Beats = {last.beats};"
    yield "  logic [(Beats > 1 ? $clog2(Beats) : 1)-1:0] beat;"
    yield "  assign m_axis_tlast = 32'(beat) == Beats - 1;"
    yield "  always_ff @(posedge clk)"
    yield "    if (rst) beat <= '0;"
    yield "    else if (m_axis_tvalid && m_axis_tready) beat <= m_axis_tlast ? '0 : beat + 1'b1;"
    yield "  logic unused;"
    levels = ", ".join(f"{edge.name}_level" for edge in graph.edges)
    yield f"  assign unused = &{{1'b0, s_axis_tlast, s_axis_tdata, {levels}}};"


def _bench(graph: StreamGraph) -> Iterator[str]:
    sizes = [f".PATIENCE({patience(graph)})"]
    for name, edge in (("IN", graph.input), ("OUT", graph.output)):
        sizes += [f".{name}_BITS({data_bits(edge)})", f".{name}_BEATS({edge.beats})"]
    yield "// The test bench with the sizes of this design."
    yield f"module {BENCH} (input logic clk);"
    yield f"  testbench #({', '.join(sizes)}) bench (.clk);"
    yield "endmodule"


def _literal(value: int | str) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _lines(lines: Iterator[str]) -> str:
    return "\n".join(lines) + "\n"
