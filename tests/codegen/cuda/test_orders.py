"""Emulated kernels give the same in whatever order their threads take turns, and none of their barriers is superfluous.

Each barrier is left out in turn: some order must then give something else. So a barrier that is missing is seen, too.
"""

from __future__ import annotations

import faulthandler
import os
import re
import shutil

import numpy as np
import pytest
import tvm
from oracles import emulated

from espalier.codegen.cuda.kernel_objects import TEMPLATES, Variant
from espalier.codegen.cuda.kernels import channel_gate, channel_sums, conv2d, dense_codebook, epilogue
from espalier.codegen.cuda.layout import Layout
from espalier.core.integer import LayerArithmetic
from espalier.core.layers import ChannelGateSpec, Conv2dSpec, DenseSpec

BARRIER = re.compile(r"^ *synchronize\(\);", re.MULTILINE)


def convolution(splits: int = 1):
    """Two tiles of pixels, more steps than stages, and sums for a gate."""
    spec, schedule = Conv2dSpec("conv", ("x", "weight"), format="float16"), conv2d.Schedule(conv2d.TILES[3], splits)
    shapes = (1, 576, 8, 9), (32, 576, 1, 1), (1, 32, 8, 9)  # the last step is in the stage that sums lie in later
    problem = conv2d.Problem("float16", shapes[0], shapes[2], (1, 1), sums=True)
    random = np.random.default_rng(0)
    x, weight = (random.standard_normal(shape).astype(np.float16) for shape in shapes[:2])
    counters, partial = conv2d.scratch_shapes(problem, schedule)
    inputs = [Layout("float16").stored(x), conv2d.pack_weight(weight, "float16")]
    inputs += [np.zeros(counters, np.int32)] if counters else []
    outputs = [(Layout("float32").physical(shapes[2]), "float32"), *([((partial,), "float32")] if partial else [])]
    outputs += [((1, 2, 32), "float32")]
    numbers = conv2d.call_numbers(problem, schedule, [], epilogue.real_end(spec, 32, "float32"))
    return schedule.tile.variant("float16"), numbers, inputs, outputs


def divided_convolution():
    """The same by two blocks for each tile."""
    return convolution(splits=2)


def gate():
    """Few channels read by many lanes, in two parts."""
    spec, shape, channels, slots = ChannelGateSpec("gate", "boost", 8, 3), (2, 40, 1, 5), 272, 9
    random = np.random.default_rng(0)
    sums = random.random((shape[0], slots, shape[1]), np.float32)
    phi = random.standard_normal((shape[1], channels), np.float32)
    numbers = channel_gate.gate_numbers(spec, shape, channels, sums.shape, 2)
    inputs = [sums, phi, np.ones(channels, np.float32), np.zeros(2, np.int32)]
    return channel_gate.variant_of(spec), numbers, inputs, channel_gate.output_shapes(spec, shape[0], channels)


def undivided_gate():
    """The same without a counter, which its blocks would meet at."""
    variant, numbers, inputs, outputs = gate()
    one_part = [*numbers[:9], 1, *numbers[10:]]
    return variant, one_part, inputs[:-1], outputs


def sums():
    """More groups of channels than threads."""
    return sums_of(2080)


def sums_of_few():
    """Groups that several threads sum together."""
    return sums_of(40)


def sums_of(channels: int):
    shape, slots = (1, channels, 2, 3), 2
    numbers = channel_sums.sums_numbers(ChannelGateSpec("gate", "boost", 8, 1), shape, "float32", slots)
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    outputs = [(channel_sums.sums_shape(shape, slots), "float32")]
    return channel_sums.variant_of("float32"), numbers, [Layout("float32").stored(x)], outputs


def packed():
    spec = DenseSpec("fc", ("x", "weight", "bias", "scale"), format="int8", integer=LayerArithmetic(0))
    random = np.random.default_rng(0)
    arrays = {"weight": random.integers(-8, 8, (40, 70)).astype(np.int8), "scale": np.ones(40, np.float32)}
    x = random.integers(0, 256, (2, 70), np.uint8)
    numbers = dense_codebook.codebook_numbers(spec, 2, arrays["weight"])
    return dense_codebook.VARIANT, numbers, [x, *dense_codebook.pack(spec, arrays)], [((2, 40), "float32")]


KERNELS = {
    "conv2d.cuh": [convolution, divided_convolution],
    "channel_gate.cuh": [gate, undivided_gate],
    "channel_sums.cuh": [sums, sums_of_few],
    "dense_codebook.cuh": [packed],
}
BARRIERS = [
    (template, number)
    for template in KERNELS
    for number in range(len(BARRIER.findall((TEMPLATES / template).read_text())))
]


def called(made: tuple[Variant, list, list, list], templates=TEMPLATES) -> None:
    """Raises AssertionError if an order changes the outputs."""
    variant, numbers, inputs, outputs = made
    is_counter = [one.dtype == np.int32 and not one.any() for one in inputs]
    given = [tvm.runtime.tensor(one) if counts else one for one, counts in zip(inputs, is_counter)]
    emulated.call(variant, numbers, given, outputs, templates)
    assert not any(one.numpy().any() for one, counts in zip(given, is_counter) if counts)


@pytest.mark.parametrize("make", [make for cases in KERNELS.values() for make in cases])
def test_the_order_of_threads_changes_nothing(make):
    called(make())


@pytest.mark.parametrize(("template", "number"), BARRIERS)
def test_without_a_barrier_it_does(template, number, tmp_path):
    templates = tmp_path / "templates"
    shutil.copytree(TEMPLATES, templates)
    text = (templates / template).read_text()
    (start, end) = [one.span() for one in BARRIER.finditer(text)][number]
    (templates / template).write_text(text[:start] + text[end:])
    assert any(differs(make(), templates) for make in KERNELS[template])


def differs(made, templates) -> bool:
    """Whether an order changes the outputs, or ends the process: what is read too early may be an address."""
    emulated.function_of(made[0], templates)
    child = os.fork()
    if not child:
        faulthandler.disable()  # of pytest's, which tells of it at length
        try:
            called(made, templates)
        except AssertionError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


def test_a_launch_that_no_gpu_takes_is_refused():
    variant, numbers, inputs, outputs = packed()
    with pytest.raises(RuntimeError, match="no GPU launches 2 x 0 x 1 blocks of 256 threads and 96 bytes"):
        emulated.call(variant, [*numbers[:4], 0, *numbers[5:]], inputs, outputs)
