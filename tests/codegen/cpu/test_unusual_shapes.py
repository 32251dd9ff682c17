"""Whole networks of sizes that fit no block, vector or tile, dense and gated, against their reference bodies."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.graphs import Graph, pruned
from oracles.running import assert_close, run_stock
from tvm import relax

from espalier.codegen.cpu.generate import generate
from espalier.core.plan import Plan
from espalier.ir.dataflow import shape_of
from espalier.targets.cpu import cpu_features, cpu_target
from espalier.targets.resolve import resolve_target

HAS_AVX2 = "avx2" in cpu_features(cpu_target({"kind": "llvm"}))

dense_and_gated = pytest.mark.parametrize("density", [1.0, 0.5])


def check(mod, density: float) -> None:
    """Compare what we compile with the bodies; a dense network also as a machine without AVX-512 would run it."""
    mod = pruned(mod, Plan(density=density, placement="branch"), "boost")
    targets = ["llvm", *([{"kind": "llvm", "mcpu": "haswell"}] if HAS_AVX2 and density == 1 else [])]
    x = np.random.default_rng(0).standard_normal(shape_of(mod["main"].params[0]), np.float32)
    expected = run_stock(mod, x)
    for target in targets:
        for ours, theirs in zip(generate(mod, resolve_target(target)).run([x]), expected, strict=True):
            assert_close(ours, theirs)


def rectangular(g: Graph, x, name: str, kernel: tuple[int, int], c_out: int = 17, groups: int = 1, **attrs):
    """A convolution whose kernel need not be square."""
    c_in = shape_of(x)[1] // groups
    bound = (3 / (c_in * kernel[0] * kernel[1])) ** 0.5
    weight = g.constant(c_out, c_in, *kernel, low=-bound, high=bound)
    return g.emit(relax.op.nn.conv2d(x, weight, groups=groups, **attrs), name)


@dense_and_gated
@pytest.mark.parametrize("image", [(1, 1), (7, 3), (1, 17)])
def test_small_and_narrow_images(image, density):
    g = Graph(1, 3, *image)
    y = g.relu(g.batch_norm(g.conv(g.x, "conv0", 32)))
    y = g.relu(g.conv(y, "depthwise", 32, groups=32))
    y = g.relu(g.emit(relax.op.add(g.conv(y, "conv1", 32), y)))
    y = g.relu(g.conv(y, "conv2", 20, strides=2))
    check(g.module(g.head(g.conv(y, "conv3", 16, 1))), density)


@pytest.mark.parametrize(("batch", "density"), [(1, 0.5), (2, 1.0), (7, 0.5), (64, 0.5)])
def test_batches(batch, density):
    g = Graph(batch, 3, 6, 6)
    y = g.relu(g.conv(g.x, "conv0", 32))
    y = g.emit(relax.op.nn.max_pool2d(g.relu(g.conv(y, "conv1", 32)), (2, 2), (2, 2)))
    check(g.module(g.head(g.relu(g.conv(y, "conv2", 20, 1)))), density)


@pytest.mark.parametrize(
    ("channels_in", "channels_out", "density"),
    [(1, 1000, 1.0), (1000, 1, 1.0), (1, 1, 1.0), (17, 1000, 0.5), (1000, 17, 0.5), (3, 1, 0.5)],
)
def test_few_and_many_channels(channels_in, channels_out, density):
    g = Graph(1, channels_in, 5, 5)
    three, one, strided = (
        g.relu(g.conv(g.x, name, channels_out, kernel, strides=stride))
        for name, kernel, stride in (("three", 3, 1), ("one", 1, 1), ("strided", 3, 2))
    )
    depthwise = g.conv(three, "depthwise", channels_out, groups=channels_out)
    check(g.module(depthwise, g.conv(one, "back", channels_in), strided, g.head(g.x, "fc", channels_out)), density)


@dense_and_gated
def test_kernels_strides_dilations_and_padding(density):
    g = Graph(2, 3, 13, 11)
    stem = g.relu(g.conv(g.x, "stem", 32))
    cases = {
        "flat": ((1, 7), {"padding": (0, 3)}),
        "upright": ((7, 1), {"padding": (3, 0)}),
        "five": ((5, 5), {"padding": 2}),
        "eleven": ((11, 11), {"padding": 5}),
        "halved": ((3, 3), {"padding": 1, "strides": 2}),
        "thirds": ((3, 3), {"padding": 1, "strides": 3}),
        "spread": ((3, 3), {"padding": 2, "dilation": 2}),
        "lopsided": ((3, 2), {"padding": (0, 1, 2, 3), "strides": (2, 1)}),
        "without": ((5, 3), {"strides": (1, 3), "dilation": (2, 1)}),
    }
    outputs = [g.relu(rectangular(g, stem, name, kernel, **attrs)) for name, (kernel, attrs) in cases.items()]
    check(g.module(*outputs), density)


@pytest.mark.parametrize(("groups", "density"), [(2, 1.0), (4, 0.5)])
def test_groups(groups, density):
    g = Graph(2, 3, 9, 7)
    stem = g.relu(g.conv(g.x, "stem", 32))
    y = g.relu(g.conv(stem, "same", 32, groups=groups))
    wider = rectangular(g, y, "wider", (3, 1), 20 * groups, groups, padding=(1, 0), strides=2)
    check(g.module(g.head(g.relu(wider)), g.conv(y, "alone", 4 * groups, 1, groups=groups)), density)
