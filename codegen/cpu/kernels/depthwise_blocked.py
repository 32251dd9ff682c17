"""Depthwise convolution over channel blocks: each vector lane is a channel of its own."""

from __future__ import annotations

from functools import partial

import numpy as np
from tvm.script.ir_builder import tirx as T

from espalier.targets.cpu import Isa

from ..layout import Layout
from .emit import PARALLEL_MACS, Accumulators, activated, build_kernel, lanes_from, loop, spread, tiles
from .halo import clear_block, clear_margins
from .lists import for_each_losing_block, listed_block
from .problem import ConvProblem
from .stored import load, store


def pack_depthwise_weight(weight: np.ndarray, lanes: int) -> np.ndarray:
    """[C, 1, R, S] to [C/lanes, R, S, lanes], filled up with zeros."""
    channels, _, r, s = weight.shape
    padded = np.pad(weight, ((0, -channels % lanes), (0, 0), (0, 0), (0, 0))).astype("float32")
    return np.ascontiguousarray(padded.reshape(-1, lanes, r, s).transpose(0, 2, 3, 1))


def depthwise_blocked(problem: ConvProblem, isa: Isa, x_layout: Layout, out_layout: Layout, clear_losers: bool = True):
    """The kernel for roles x, weight (packed), [bias], [winners]; both layouts have block isa.lanes."""
    spec, lanes = problem.spec, isa.lanes
    batch, channels, rows, columns = problem.out_shape
    blocks, winners = -(-problem.computed_out // lanes), spec.winners
    lane = lanes_from(0, lanes)
    width = min(columns, isa.registers // 2 - 4)

    def row_tile(given, n, block, row, first, size: int) -> None:
        total = Accumulators(size, lanes)
        start = given["bias"][lanes_from(block * lanes, lanes)] if "bias" in given else spread(T.float32(0), lanes)
        start = T.bind(start)
        for j in range(size):
            total[j] = start
        with T.grid(*problem.kernel) as (r, s):
            weight = T.bind(given["weight"][block, r, s, lane])
            for j in range(size):
                place = x_layout.index(n, block, problem.row(row, r), problem.column(first + j, s), lane)
                total[j] = total[j] + load(given["x"], x_layout, place) * weight
        for j in range(size):
            value = activated(spec.activation, total[j], lanes)
            store(given["out"], out_layout, out_layout.index(n, block, row, first + j, lane), value, isa)

    def body(*buffers) -> None:
        given = dict(zip((*spec.roles, "out"), buffers))
        if winners and clear_losers:
            clear = partial(clear_block, given["out"], out_layout, problem.out_shape)
            for_each_losing_block(given["winners"], problem, lanes, clear)
        with loop(batch * blocks * rows, problem.macs > PARALLEL_MACS) as task:
            n, block, row = T.bind(task // (blocks * rows)), T.bind(task // rows % blocks), T.bind(task % rows)
            if winners:
                block = T.bind(listed_block(given["winners"], n, block, winners, lanes))
            for start, count, size in tiles(columns, width):
                with T.serial(count) as step:
                    row_tile(given, n, block, row, start + step * size, size)
            clear_margins(given["out"], out_layout, problem.out_shape, n, block, row, 1)

    shapes = {
        "x": x_layout.physical(problem.x_shape),
        "weight": (-(-channels // lanes), *problem.kernel, lanes),
        "bias": (-(-channels // lanes) * lanes,),
        "winners": (batch, winners.count if winners else 0),
        "out": out_layout.physical(problem.out_shape),
    }
    types = {"winners": "int32", "x": x_layout.element, "out": out_layout.element}
    arguments = [(role, shapes[role], types.get(role, "float32")) for role in (*spec.roles, "out")]
    return build_kernel(spec.name, arguments, body)
