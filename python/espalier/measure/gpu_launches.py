"""Times of a program's launches, each alone: as if nothing ran before it, with what it reads in the L2 cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tvm

NUMBER, REPEAT = 20, 7
"""Calls between two events on the GPU, and how often that is repeated; a time is the median of means."""


def launch_seconds(functions: tvm.runtime.Module, launches: Sequence, device: tvm.runtime.Device) -> list[float]:
    """Seconds of each launch on random values. functions: the program's library. launches: `KernelLaunch`.

    A launch that is shorter than what launching costs is measured as that cost: inside a CUDA graph it takes less.
    """
    random, known = np.random.default_rng(0), {}
    for launch in launches:
        key = (launch.variant, launch.numbers, launch.tensors)
        if key not in known:
            tensors = [tvm.runtime.tensor(_values(random, *one), device) for one in launch.tensors]
            timed = functions.time_evaluator(launch.variant, device, number=NUMBER, repeat=REPEAT)
            known[key] = timed(*launch.numbers, *tensors).median
    return [known[launch.variant, launch.numbers, launch.tensors] for launch in launches]


def _values(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Real numbers and bytes at random; zeros for lists and for what is counted in."""
    if dtype in ("uint8", "int8"):
        return random.integers(0, 128, shape).astype(dtype)
    return np.zeros(shape, dtype) if dtype == "int32" else random.standard_normal(shape, np.float32).astype(dtype)
