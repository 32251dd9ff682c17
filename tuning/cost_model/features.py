"""What a learned cost model sees of a convolution's choice, by name.

Sizes are natural logarithms, so that ratios are differences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from espalier.codegen.cpu.kernels.problem import ConvProblem
from espalier.codegen.cpu.spaces import problem_of_task, surroundings_of_task
from espalier.codegen.cpu.surroundings import Surroundings
from espalier.core.choices import Option, Task
from espalier.targets.cpu import Isa

from .interface import Features

FAMILIES = ("blocked", "bfloat16", "winograd", "planar", "depthwise", "int8", "planar_int8", "depthwise_int8")

FEATURES = {
    "cycles": "log of the cycles that the analytic rule predicts",
    "macs": "log of multiply-accumulates",
    "pixels": "log of output rows times columns, the batch included",
    "columns": "log of output columns",
    "channels_in": "log of the input channels that are summed",
    "channels_out": "log of the output channels that are computed",
    "kernel": "log of kernel rows times columns",
    "stride": "log of the column stride",
    "weight_bytes": "log of bytes of the weight",
    "tensor_bytes": "log of bytes of input and output",
    "intensity": "log of multiply-accumulates for each byte of input, weight and output",
    "lists": "how many lists of channels there are: 0, 1 or 2",
    "cores": "log of cores",
    **dict.fromkeys(FAMILIES, "1 for a kernel of this family, else 0"),
    "vectors": "accumulators, as a share of the registers",
    "loads": "loads for each multiply-add of a step",
    "tile_channels": "log of the vectors of channels, or channels, in a tile",
    "tile_rows": "log of its rows",
    "tile_columns": "log of its columns, or vectors of columns, or Winograd tiles",
    "waste": "log of computed over needed outputs: what partial tiles at the ends cost",
    "last_columns": "width of the last tile of a row over that of the others",
    "tasks": "log of parallel tasks for each core",
    "idle": "share of the cores' time in which some have no task left",
    "outputs": "rows of a Winograd tile, 0 for other kernels",
    "chunk": "log of the Winograd tiles of a task, 0 for other kernels",
    "parts": "log of the parts of a Winograd kernel's output channels, 0 for other kernels",
    "workspace": "log of bytes of a Winograd task's transformed input, 0 for other kernels",
}
"""Name -> meaning, in the order of a row."""

SURROUNDINGS = {
    "margin": "log of stored over computed rows times columns of the output",
    "cleared": "log of output channels over computed ones, 0 where losing channels are not cleared",
    "far": "1 where the network's weights do not stay in the nearest caches, else 0",
}
"""What more is known of a kernel of a network."""


def feature_rows(task: Task, options: Sequence[Option]) -> np.ndarray:
    """float64 [N, features] of a task's options."""
    problem, isa, shared = _of_task(task.text)
    rows = [{**shared, **_of_option(problem, isa, option)} for option in options]
    return np.array([[row[name] for name in FEATURES] for row in rows]).reshape(len(rows), len(FEATURES))


@lru_cache(maxsize=4096)
def _of_task(text: str) -> tuple[ConvProblem, Isa, dict[str, float]]:
    problem, isa = problem_of_task(Task.parse(text))
    batch, _, rows, columns = problem.out_shape
    value_bytes = 1 if problem.spec.integer else 4
    tensor_bytes = value_bytes * (math.prod(problem.x_shape) + math.prod(problem.out_shape))
    weight_bytes = value_bytes * math.prod(problem.weight_shape)
    shared = {
        "macs": math.log(problem.macs),
        "pixels": math.log(batch * rows * columns),
        "columns": math.log(columns),
        "channels_in": math.log(problem.computed_in),
        "channels_out": math.log(problem.computed_out),
        "kernel": math.log(math.prod(problem.kernel)),
        "stride": math.log(problem.spec.strides[1]),
        "weight_bytes": math.log(weight_bytes),
        "tensor_bytes": math.log(tensor_bytes),
        "intensity": math.log(problem.macs / (weight_bytes + tensor_bytes)),
        "lists": sum(one is not None for one in (problem.spec.winners, problem.spec.active)),
        "cores": math.log(isa.cores),
    }
    return problem, isa, shared


def _of_option(problem: ConvProblem, isa: Isa, option: Option) -> dict[str, float]:
    family, sizes = option.choice.family, dict(option.choice.sizes)
    _, channels_out, rows, columns = problem.out_shape
    blocks = -(-problem.computed_out // isa.lanes)
    if family == "winograd":
        tiles = math.prod(-(-extent // sizes["outputs"]) for extent in (rows, columns))
        extents, tile = (blocks, 1, min(sizes["chunk"], tiles)), (sizes["blocks"], 1, sizes["columns"])
        tasks = -(-tiles // sizes["chunk"]) * sizes["parts"]
    elif family in ("planar", "planar_int8"):
        extents = (problem.computed_out, rows, -(-columns // sizes["lanes"]))
        tile = (sizes["channels"], sizes["rows"], sizes["vectors"])
        tasks = -(-extents[0] // tile[0]) * -(-rows // tile[1])
    else:
        extents = (blocks, rows, columns)
        tile = tuple(sizes.get(name, 1) for name in ("blocks", "rows", "columns"))
        tasks = -(-blocks // tile[0]) * -(-rows // tile[1])
    pixels = tile[1] * tile[2]
    covered = math.prod(-(-extent // size) * size for extent, size in zip(extents, tile))
    rounds = -(-tasks * problem.x_shape[0] // isa.cores)
    return {
        "cycles": math.log(option.cycles),
        **{name: float(name == family) for name in FAMILIES},
        "vectors": tile[0] * pixels / isa.registers,
        "loads": (tile[0] + pixels) / (tile[0] * pixels),
        "tile_channels": math.log(tile[0]),
        "tile_rows": math.log(tile[1]),
        "tile_columns": math.log(tile[2]),
        "waste": math.log(covered / math.prod(extents)),
        "last_columns": (extents[2] % tile[2] or tile[2]) / tile[2],
        "tasks": math.log(tasks * problem.x_shape[0] / isa.cores),
        "idle": 1 - tasks * problem.x_shape[0] / (rounds * isa.cores),
        **_of_winograd(problem, isa, sizes if family == "winograd" else None),
    }


def _of_winograd(problem: ConvProblem, isa: Isa, sizes: dict[str, int] | None) -> dict[str, float]:
    if sizes is None:
        return {"outputs": 0.0, "chunk": 0.0, "parts": 0.0, "workspace": 0.0}
    into = -(-problem.computed_in // isa.lanes) * isa.lanes
    return {
        "outputs": float(sizes["outputs"]),
        "chunk": math.log(sizes["chunk"]),
        "parts": math.log(sizes["parts"]),
        "workspace": math.log(4 * (sizes["outputs"] + 2) ** 2 * sizes["chunk"] * into),
    }


def kernel_rows(task: Task, options: Sequence[Option]) -> np.ndarray:
    """float64 [N, features and surroundings] of options of a kernel in a network."""
    problem, around = _of_task(task.text)[0], surroundings_of_task(task) or Surroundings(1, 0)
    _, _, rows, columns = problem.out_shape
    stored = (rows + 2 * around.out_halo) * (columns + 2 * around.out_halo)
    row = {
        "margin": math.log(stored / (rows * columns)),
        "cleared": math.log(problem.channels_out / problem.computed_out) if around.clears_losers else 0.0,
        "far": float(around.weights_are_far),
    }
    shared = np.tile([row[name] for name in SURROUNDINGS], (len(options), 1))
    return np.hstack([feature_rows(task, options), shared])


CONVOLUTIONS = Features(tuple(FEATURES), feature_rows)
KERNELS_IN_NETWORKS = Features((*FEATURES, *SURROUNDINGS), kernel_rows)
