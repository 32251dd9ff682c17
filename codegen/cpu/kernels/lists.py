"""Run-time channel lists in kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from espalier.core.layers import ActiveList

from ..packing import packing
from .emit import PARALLEL_MACS, loop, when
from .problem import ConvProblem


def listed_block(winners, n, position, active: ActiveList, block: int):
    """The channel block at `position` among the listed ones; `block` divides the granularity."""
    per_group = active.granularity // block
    if per_group == 1:
        return winners[n, position]
    return winners[n, position // per_group] * per_group + position % per_group


def for_each_channel(listed, n, active: ActiveList | None, channels: int, body: Callable) -> None:
    """Emit `body(channel)` in a loop over all channels, or over the listed ones."""
    if active is None:
        with T.serial(channels) as channel:
            body(channel)
        return
    with T.serial(active.count) as position:
        first = T.bind(listed[n, position] * active.granularity)
        if active.granularity == 1:
            body(first)
        else:
            with T.serial(active.granularity) as lane:
                body(first + lane)


def for_each_losing_block(winners, problem: ConvProblem, block: int, body: Callable) -> None:
    """Emit `body(n, number)` for every channel block whose group does not win; `block` divides the groups."""
    group = problem.spec.winners
    per_group, groups = group.granularity // block, problem.channels_out // group.granularity
    with loop(problem.out_shape[0] * groups, problem.macs > PARALLEL_MACS) as task:
        n, number = T.bind(task // groups), T.bind(task % groups)
        found = tirx.any(*(winners[n, position] == number for position in range(group.count)))

        def every_block() -> None:
            with T.serial(per_group) as part:
                body(n, number * per_group + part)

        when(tirx.Not(found), every_block)


@packing
def filled_up(array: np.ndarray, block: int) -> np.ndarray:
    """[C] with zeros up to a multiple of `block`."""
    return np.pad(array, (0, -len(array) % block))


@packing
def whole_blocks(array: np.ndarray, block: int) -> np.ndarray:
    """float32 [..., C] with C extended by zeros to a multiple of `block`."""
    width = [(0, 0)] * (array.ndim - 1) + [(0, -array.shape[-1] % block)]
    return np.ascontiguousarray(np.pad(array, width).astype("float32"))
