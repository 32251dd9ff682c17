"""What arithmetic and on-chip memory take: published energies of operations, for an estimate of a network's.

In a 45 nm process at 0.9 V, as Horowitz gives them. Processors of today take less, and spend more beside the operations
(instructions, control, leakage) than on them: the figures rank networks, they do not tell a battery's life.

References
    Horowitz, Computing's Energy Problem (and what we can do about it), ISSCC 2014, figure 1.1.9.
"""

from __future__ import annotations

SOURCE = "energies of operations in 45 nm at 0.9 V (Horowitz, ISSCC 2014)"

MAC_J = {"int8": 0.2e-12 + 0.1e-12, "float16": 1.1e-12 + 0.4e-12, "float32": 3.7e-12 + 0.9e-12}
"""A product and its addition, of 8-bit integers into 32 bits, or of floats into their own format."""

MEMORY_J_PER_BYTE = 20e-12 / 8
"""Of a cache of 32 kB, of which 64 bits at a time are read."""


def mac_energy_j(weights: str, is_quantized: bool) -> float:
    """Of a multiply-accumulate with weights in a format, by its text; formats without a figure of their own cost as
    much as float32."""
    return MAC_J["int8"] if is_quantized else MAC_J.get(weights, MAC_J["float32"])
