"""What kernels cost: the analytic rule behind the choice of tiles and of kernel families.

All figures are cycles of one core. Throughputs are those of the processors with two 512-bit multiply-add pipes and two
load ports that are common in servers (Fog, Instruction tables, 2024); bandwidths and the overheads were measured.
"""

from __future__ import annotations

NEAR_BYTES = 768 << 10
"""An array up to this size stays in a core's own cache (most of a second-level cache of 1 MiB)."""

NEAR_RATE, LAST_CACHE_RATE, MEMORY_RATE = 48, 24, 10
"""Bytes that one core reads in a cycle from its own second-level cache, from the cache that all share, from memory."""

OVERLAP = 0.75
"""So much of the shorter of computing and reading hides behind the longer."""


def step_cycles(vectors: int, values: int) -> float:
    """One step over a reduction: the outer product of `vectors` weight vectors and `values` broadcast values.

    The largest of its multiply-adds (two a cycle), its loads (two a cycle), and the latency of the accumulators'
    chain (four cycles), with a little for the loop.
    """
    return max(vectors * values / 2, (vectors + values) / 2, 4) + 0.5


def streaming_cycles(work: float, bytes_read: float, array_bytes: float, cached: bool) -> float:
    """`work` cycles of arithmetic on `bytes_read` out of an array; cached: the array is in the last cache already."""
    rate = NEAR_RATE if array_bytes <= NEAR_BYTES else LAST_CACHE_RATE if cached else MEMORY_RATE
    reading = bytes_read / rate
    return max(work, reading) + (1 - OVERLAP) * min(work, reading)


def shared_cycles(work: float, tasks: int, cores: int) -> float:
    """`work` divided into equal tasks: the mean of what one core takes and what `cores` take together."""
    rounds = -(-tasks // cores)
    return work * (1 + rounds * cores / tasks) / 2
