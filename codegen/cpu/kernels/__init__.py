"""Kernels that are written out, loop by loop."""
