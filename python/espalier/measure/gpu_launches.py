"""Times of a program's launches, each alone: as if nothing ran before it, with what it reads in the L2 cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tvm

NUMBER, REPEAT = 20, 7
"""Calls between two events on the GPU, and how often that is repeated; a time is the median of means."""
LISTS = {"conv2d": (16, 19), "depthwise": (16,), "channel_sums": (6,), "channel_gate": (10,)}
"""Where the three numbers of each list begin among those of a call, by the kernel's family: groups that are listed (0
without a list), channels of a group, groups of the tensor. The order is that of codegen/cuda/templates."""


def launch_seconds(functions: tvm.runtime.Module, launches: Sequence, device: tvm.runtime.Device) -> list[float]:
    """Seconds of each launch on random values. functions: the program's library. launches: `KernelLaunch`.

    A launch that is shorter than what launching costs is measured as that cost: inside a CUDA graph it takes less.
    """
    random, known = np.random.default_rng(0), {}
    for launch in launches:
        key = (launch.variant, launch.numbers, launch.tensors)
        if key not in known:
            tensors = [tvm.runtime.tensor(one, device) for one in operands(random, launch)]
            timed = functions.time_evaluator(launch.variant, device, number=NUMBER, repeat=REPEAT)
            known[key] = timed(*launch.numbers, *tensors).median
    return [known[launch.variant, launch.numbers, launch.tensors] for launch in launches]


def operands(random: np.random.Generator, launch) -> list[np.ndarray]:
    """Arrays for the tensors of a launch, in their order.

    Real numbers and bytes are random; each sample lists distinct groups at random, ascending, as a gate does, because
    fewer of them would be read from the cache. What is counted in is zeros.
    """
    numbers = launch.numbers
    positions = next((at for family, at in LISTS.items() if f"_{family}_" in launch.variant), ())
    groups = [numbers[at + 2] for at in positions if numbers[at] > 1]  # a list of one group looks like counters
    arrays = []
    for shape, dtype in launch.tensors:
        if dtype == "int32" and groups and len(shape) == 2 and shape[1] > 1:
            arrays.append(_lists(random, shape, groups.pop(0)))
        else:
            arrays.append(_values(random, shape, dtype))
    return arrays


def _lists(random: np.random.Generator, shape: tuple[int, ...], groups: int) -> np.ndarray:
    """int32 [N, count], of 0 to groups - 1."""
    return np.sort(random.random((shape[0], groups)).argsort(1)[:, : shape[1]], 1).astype(np.int32)


def _values(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Real numbers and bytes at random; zeros for what else is of integers."""
    if dtype in ("uint8", "int8"):
        return random.integers(0, 128, shape).astype(dtype)
    return np.zeros(shape, dtype) if dtype == "int32" else random.standard_normal(shape, np.float32).astype(dtype)
