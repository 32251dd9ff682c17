"""Espalier: dynamic channel pruning and nonuniform quantization, compiled with Apache TVM."""
