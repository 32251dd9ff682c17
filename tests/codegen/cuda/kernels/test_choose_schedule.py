"""Waves, occupancy and the rule that picks a tile."""

from __future__ import annotations

import dataclasses

import pytest

from espalier.codegen.cuda.kernels.choose_schedule import (
    choose_schedule,
    predicted_s,
    resident_blocks,
    schedules,
    waves_of,
)
from espalier.codegen.cuda.kernels.conv2d import TILES, Problem
from espalier.core.layers import ActiveList
from espalier.targets.gpu import gpu_of_arch

A100, H100 = gpu_of_arch("sm_80"), gpu_of_arch("sm_90a")


def conv(batch: int, channels: int, image: int, **fields) -> Problem:
    shape = (batch, channels, image, image)
    return Problem("float16", shape, shape, (3, 3), corner=(1, 1), **fields)


@pytest.mark.parametrize(
    ("threads", "registers", "shared_bytes", "expected"),
    [
        (256, 32, 0, 8),  # 64 warps
        (128, 32, 0, 16),
        (256, 255, 0, 1),  # 65,536 registers
        (256, 128, 0, 2),
        (128, 32, 100 << 10, 1),  # 164 KiB of shared memory
        (128, 32, 50 << 10, 3),
        (128, 32, 164 << 10, 0),  # one block gets 163 KiB
        (32, 16, 0, 32),  # 32 blocks
    ],
)
def test_resident_blocks_of_an_a100(threads, registers, shared_bytes, expected):
    assert resident_blocks(A100, threads, registers, shared_bytes) == expected


def test_waves_and_tail():
    assert waves_of(A100, 108 * 2, 2).tail == 0
    last = waves_of(A100, 108 * 2 + 1, 2)
    assert (last.waves, last.tail) == (2, pytest.approx(1 - 217 / 432))


def test_latency_over_channels_is_a_staircase_that_never_descends():
    tile = next(one for one in schedules(conv(8, 64, 28)) if one.tile == TILES[2] and one.splits == 1)
    problems = [Problem("float16", (8, 64, 28, 28), (8, c, 28, 28), (3, 3)) for c in range(8, 1025, 8)]
    seconds = [predicted_s(one, tile, H100) for one in problems]
    assert seconds == sorted(seconds)
    assert 2 < len(set(seconds)) < len(seconds) / 4


def test_no_launch_is_faster_than_memory():
    """A dense layer of 512 MiB of weights at batch 1; lists of 32 samples name no more than the whole weight."""
    dense = Problem("float16", (1, 16384, 1, 1), (1, 16384, 1, 1), (1, 1))
    assert dense.read_bytes == 2 * (16384**2 + 16384)
    assert predicted_s(dense, choose_schedule(dense, H100), H100) >= dense.read_bytes / H100.bandwidth_bytes_s
    gated = conv(32, 256, 28, winners=ActiveList(8, 16), active=ActiveList(8, 16))
    assert gated.read_bytes == 2 * (32 * 28 * 28 * 128 + 9 * 256 * 256)
    assert dataclasses.replace(gated, x_shape=(2, 256, 28, 28)).read_bytes == 2 * (2 * 28 * 28 * 128 + 2 * 9 * 128**2)


def test_small_images_are_cut_in_depth_and_large_batches_are_not():
    assert choose_schedule(conv(1, 512, 7), H100).splits > 1
    assert choose_schedule(conv(64, 256, 28), H100).splits == 1


def test_half_of_the_channels_on_both_sides_is_a_quarter_of_the_depth_and_width():
    dense, gated = conv(32, 256, 28), conv(32, 256, 28, winners=ActiveList(8, 16), active=ActiveList(8, 16))
    assert (gated.depth * 2, gated.columns * 2) == (dense.depth, dense.columns)
    times = [predicted_s(one, choose_schedule(one, H100), H100) for one in (dense, gated)]
    assert times[1] < 0.5 * times[0]
