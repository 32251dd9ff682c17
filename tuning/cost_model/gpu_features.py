"""What a learned cost model sees of a convolution's choice on a GPU, by name; sizes are natural logarithms."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from espalier.codegen.cuda.kernels.choose_schedule import resident_of, waves_of
from espalier.codegen.cuda.kernels.conv2d import DEPTH_CHUNKS, Problem, Schedule
from espalier.codegen.cuda.spaces import problem_of_task, product_of, schedule_of
from espalier.core.choices import Option, Task
from espalier.targets.gpu import Gpu

from .interface import Features

GPU_FEATURES = {
    "cycles": "log of the clocks that the analytic rule predicts",
    "macs": "log of multiply-accumulates",
    "depth": "log of the steps of a block",
    "lists": "how many lists of channels there are: 0, 1 or 2",
    "value_bytes": "log of bytes of a value of the input",
    "products": "log of tensor instructions for a product",
    "rows": "log of the tile's rows",
    "columns": "log of its columns",
    "warps_down": "log of warps down",
    "warps_across": "log of warps across",
    "stages": "log of the pipeline's stages",
    "splits": "log of the parts of the depth",
    "waves": "log of waves",
    "tail": "share of the last wave's places that stay empty",
    "resident": "log of blocks that an SM holds",
    "waste": "log of issued over needed multiply-accumulates",
}
"""Name -> meaning, in the order of a row."""


def gpu_feature_rows(task: Task, options: Sequence[Option]) -> np.ndarray:
    """float64 [N, features] of a task's options."""
    convolution, gpu = problem_of_task(task)
    problem = product_of(convolution)
    rows = [_row(problem, gpu, schedule_of(one.choice), one.cycles, convolution.macs) for one in options]
    return np.array([[row[name] for name in GPU_FEATURES] for row in rows]).reshape(len(rows), len(GPU_FEATURES))


def _row(problem: Problem, gpu: Gpu, schedule: Schedule, cycles: float, macs: int) -> dict[str, float]:
    tile, numbers = schedule.tile, problem.numbers
    across, down = problem.tiles(tile)
    resident = max(1, resident_of(tile, numbers, gpu))
    waves = waves_of(gpu, across * down * schedule.splits, resident)
    issued = across * down * tile.rows * tile.columns * problem.depth * DEPTH_CHUNKS * numbers.chunk
    sizes = {name: math.log(size) for name, size in dataclasses.asdict(tile).items()}
    return {
        **sizes,
        "cycles": math.log(cycles),
        "macs": math.log(macs),
        "depth": math.log(-(-problem.depth // schedule.splits)),
        "lists": float(sum(one is not None for one in (problem.winners, problem.active))),
        "value_bytes": math.log(np.dtype(numbers.element).itemsize),
        "products": math.log(numbers.products),
        "splits": math.log(schedule.splits),
        "waves": math.log(waves.waves),
        "tail": waves.tail,
        "resident": math.log(resident),
        "waste": math.log(issued / macs),
    }


GPU_CONVOLUTIONS = Features(tuple(GPU_FEATURES), gpu_feature_rows)
