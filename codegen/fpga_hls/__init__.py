"""Streaming accelerators for FPGAs: a dataflow graph of folded stages, emitted as HLS C++ and as SystemVerilog."""
