"""Tasks whose every choice has a time that is known: the analytic rule, bent by a smooth function of the tile."""

from __future__ import annotations

import math

import numpy as np
from oracles.convolutions import problem_of

from espalier.codegen.cpu.spaces import options, problem_of_task, task_of
from espalier.core.choices import Option, Task
from espalier.core.layers import Activation, Conv2dSpec
from espalier.targets.resolve import resolve_target
from espalier.tuning.cost_model.interface import Sample

TARGET = resolve_target({"kind": "llvm", "mcpu": "x86-64-v4", "num-cores": 2})
CYCLE_S = 0.3e-9


def conv_task(c_in: int, c_out: int, size: int, kernel: int = 3, target=TARGET, **changes) -> Task:
    """A convolution with bias and ReLU, padded so that the image keeps its size."""
    pads = (kernel // 2,) * 4
    spec = Conv2dSpec("conv", ("x", "weight", "bias"), Activation("relu"), padding=pads, **changes)
    return task_of(problem_of(spec, 1, c_in, c_out, (size, size), (kernel, kernel)), target)


TASKS = (conv_task(64, 64, 28), conv_task(32, 96, 14, 1), conv_task(48, 32, 20, winograd=False))
SPACES = {task: options(*problem_of_task(task)) for task in TASKS}


def true_seconds(task: Task, option: Option) -> float:
    """Slower for wide tiles and for Winograd than the rule says, faster for several rows."""
    sizes = dict(option.choice.sizes)
    bend = 0.03 * sizes.get("columns", 4) - 0.1 * math.log(sizes.get("rows", 1))
    return option.cycles * CYCLE_S * math.exp(bend + 0.2 * (option.choice.family == "winograd"))


def exact_samples(count: int, seed: int = 0) -> list[Sample]:
    """So many random choices of each task with their true times."""
    random, found = np.random.default_rng(seed), []
    for task, space in SPACES.items():
        for number in random.permutation(len(space))[:count]:
            found.append(Sample(task, space[number], true_seconds(task, space[number])))
    return found


def spearman(one, other) -> float:
    """Rank correlation of values without many ties."""
    ranks = [np.argsort(np.argsort(values)) for values in (one, other)]
    return float(np.corrcoef(ranks)[0, 1])
