"""A stream graph as a Vitis HLS project."""
