"""The SystemVerilog of a stream graph."""
