"""What kernels cost: the analytic rule behind the choice of tiles and of kernel families.

All figures are cycles of one core. Throughputs are those of the processors with two 512-bit multiply-add pipes and two
load ports that are common in servers (Fog, Instruction tables, 2024); bandwidths and the overheads were measured.
"""

from __future__ import annotations

NEAR_BYTES = 768 << 10
"""As much as this stays in a core's own cache (most of a second-level cache of 1 MiB)."""

NEAR_RATE, MEMORY_RATE = 96, 10
"""Bytes that one core reads in a cycle from its own cache, and from memory. Weights that do not stay in the former
count as read from memory: by the time a layer runs again, the other layers have taken their place."""

CHAIN_CYCLES = {1: 4, 2: 6, 4: 4}
"""From a sum to the next one that needs it, by the input channels that a step multiplies: a multiply-add, a product of
bfloat16 pairs, and of four bytes."""

OVERLAP = 0.5
"""So much of the shorter of computing and reading hides behind the longer."""


def step_cycles(products: int, loads: int, together: int = 1) -> float:
    """One step over a reduction, of so many multiply-adds of vectors and so many loads.

    The largest of its multiply-adds (two a cycle), its loads (two a cycle), and the latency of the accumulators'
    chain, with a little for the loop. together: input channels that a step multiplies.
    """
    return max(products / 2, loads / 2, CHAIN_CYCLES[together]) + 0.5


def streaming_cycles(work: float, bytes_read: float, held_bytes: float) -> float:
    """`work` cycles of arithmetic on `bytes_read` of weights, where `held_bytes` are in use at the same time."""
    reading = bytes_read / (NEAR_RATE if held_bytes <= NEAR_BYTES else MEMORY_RATE)
    return max(work, reading) + (1 - OVERLAP) * min(work, reading)


def shared_cycles(work: float, tasks: int, cores: int) -> float:
    """`work` divided into equal tasks: the mean of what one core takes and what `cores` take together."""
    rounds = -(-tasks // cores)
    return work * (1 + rounds * cores / tasks) / 2
