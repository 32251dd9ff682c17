"""MobileNet-V1 as an accelerator on an Alveo U250, whole and in parts: a stage with the adapters before it.

The weights are random, the statistics of batch norm those that random images cause, so that ranges are realistic and
answers mean nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tvm

import espalier
from espalier.codegen.fpga_hls.fifo_depths import with_fifo_depths
from espalier.codegen.fpga_hls.graph import HOST, StreamGraph
from espalier.codegen.fpga_hls.network import INPUT, StageNetwork
from espalier.codegen.fpga_hls.program import FpgaProgram, load_fpga_program, sums
from espalier.codegen.fpga_hls.stages import Adapter, Convolution, MeanPool, Products, Stage
from espalier.core.integer import LayerArithmetic, MeanPoolSpec

BOARD, SIZE = "alveo-u250", 224
SAMPLES = 16


def accelerator(folder: Path, clock_hz: float, interval: int) -> FpgaProgram:
    """The design for so many cycles a frame; made once, then read from the folder."""
    if (folder / "graph.json").is_file():
        return load_fpga_program(folder)
    mod, plan = _module(), espalier.Plan(weights="uniform<8>")
    target = {"kind": "ext_dev", "device": BOARD, "feature.clock_hz": clock_hz}
    target["feature.frames_per_s"] = clock_hz / interval
    program = espalier.build(mod, target, plan, espalier.calibrate(mod, images(SAMPLES), plan)).program
    folder.mkdir(parents=True, exist_ok=True)
    program.save(folder)
    return program


def _module() -> tvm.IRModule:
    import torch  # what was built once needs none of these

    from .imagenet import network
    from .models_int8 import settled

    return espalier.from_torch(settled(network("MobileNet-V1")), torch.zeros(1, 3, SIZE, SIZE))


def images(count: int, seed: int = 0) -> np.ndarray:
    """Random, normalised: float32 [N, 3, 224, 224]."""
    return np.random.default_rng(seed).standard_normal((count, 3, SIZE, SIZE), "float32")


def parts(graph: StreamGraph) -> Iterator[tuple[Stage, StreamGraph]]:
    """(stage, graph) for each stage of a chain that is no adapter: it and the adapters before it, with FIFOs of their
    own.
    """
    names: list[str] = []
    for stage in graph.stages:
        names.append(stage.name)
        if not isinstance(stage, Adapter):
            yield stage, with_fifo_depths(_cut(graph, names))
            names = []


def _cut(graph: StreamGraph, names: list[str]) -> StreamGraph:
    edges = []
    for edge in graph.edges:
        comes, goes = edge.source in names, edge.sink in names
        if comes or goes:
            ends = {} if comes else {"source": HOST, "source_port": ""}
            ends |= {} if goes else {"sink": HOST, "sink_port": ""}
            edges.append(dataclasses.replace(edge, **ends))
    return StreamGraph(tuple(graph.stage(name) for name in names), tuple(edges))


def chain(graph: StreamGraph) -> StageNetwork:
    """A chain's network, to be folded again."""
    stages = tuple(stage for stage in graph.stages if not isinstance(stage, Adapter))
    sources, before = {}, INPUT
    for stage in stages:
        sources[stage.name, "x"] = before
        before = (stage.name, "y")
    return StageNetwork(stages[0].in_shape, stages, sources, before, {stage.name: stage.name for stage in stages})


def with_shifts(network: StageNetwork) -> StageNetwork:
    """With shift<4> products in 1x1 convolutions and dense layers: for resources only, the weights stay as they are."""
    stages = tuple(
        dataclasses.replace(stage, products=Products("shift", 4))
        if isinstance(stage, Convolution) and stage.is_pointwise
        else stage
        for stage in network.stages
    )
    return dataclasses.replace(network, stages=stages)


def behind_the_first(network: StageNetwork) -> StageNetwork:
    """The network without its first stage."""
    first, *rest = network.stages
    sources = {at: INPUT if source[0] == first.name else source for at, source in network.sources.items()}
    del sources[first.name, "x"]
    return dataclasses.replace(network, shape=first.out_shape, stages=tuple(rest), sources=sources)


def computed(stage: Convolution | MeanPool, x: np.ndarray) -> np.ndarray:
    """What a stage makes of x, uint8 [H, W, C], by the formulas of `core.integer`."""
    if isinstance(stage, MeanPool):
        total = (x.astype(np.int64) - stage.arithmetic.x_zero).sum((0, 1), keepdims=True)
        return _limited(total * stage.arithmetic.multiplier, stage.arithmetic)
    total = sums(stage, x)
    if stage.multiplier is None:
        return total
    return _limited(total.astype(np.int64) * stage.multiplier, stage.arithmetic)


def _limited(product: np.ndarray, one: LayerArithmetic | MeanPoolSpec) -> np.ndarray:
    """The product over 2^shift, ties to even, from `zero`."""
    half = (1 << one.shift) // 2
    rounded = (product + half - 1 + (product >> one.shift & 1)) >> one.shift if half else product
    return np.clip(rounded + one.zero, one.low, one.high).astype(np.uint8)
