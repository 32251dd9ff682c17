"""How many threads TVM computes with.

TVM keeps a pool of workers for each Python thread that runs a network. Its size is fixed when it is
first used (by default half the logical cores), and using it binds the calling thread to the pool's
cores; whatever that thread starts afterwards, another inference library's workers for instance, inherits
the binding. `set_threads` makes the pool large enough, unbound, and then uses as much of it as is asked for.
"""

from __future__ import annotations

import os

import tvm_ffi

from espalier.core.errors import InvalidInputError

_SHARE_ALL_CORES = -3  # kSpecifyThreadShareAllCore in TVM's threading_backend.h


def cores() -> list[int]:
    """The logical cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def set_threads(count: int) -> None:
    """Let TVM compute with `count` threads, for networks that the calling Python thread runs.

    Without a call TVM takes $TVM_NUM_THREADS, else half the logical cores.
    Raises InvalidInputError if there are fewer cores (workers that spin would wait for each other), or if
    networks ran before with a smaller pool.
    """
    available = cores()
    if not isinstance(count, int) or not 1 <= count <= len(available):
        raise InvalidInputError(f"threads: got {count!r}, accepted are 1 to {len(available)}, this machine's cores")
    os.environ["TVM_BIND_THREADS"] = "0"
    configure = tvm_ffi.get_global_func("runtime.config_threadpool")
    for size in (len(available), count):
        configure(_SHARE_ALL_CORES, size, [str(core) for core in available[:size]])
    if threads() != count:
        raise InvalidInputError(
            f"threads: TVM's pool has only {threads()} of the {count} asked for; set them before the first run"
        )


def threads() -> int:
    """The number of threads that TVM computes with when the calling Python thread runs a network."""
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    return int(tvm_ffi.get_global_func("runtime.NumThreads")())
