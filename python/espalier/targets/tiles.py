"""Permission to use the processor's tiles: Linux keeps room for their contents only for a process that asks."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

_ARCH_PRCTL, _REQUEST, _TILE_DATA = 158, 0x1023, 18
"""The system call, its code ARCH_REQ_XCOMP_PERM and the state component (Linux, Documentation/arch/x86/xstate.rst)."""


@cache
def may_use_tiles() -> bool:
    """Ask once for the whole process, whatever its threads; False where the kernel or the processor refuses."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    return ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST, _TILE_DATA) == 0
