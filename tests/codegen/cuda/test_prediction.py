"""The predicted profile of a program: from its launches and the device's data."""

from __future__ import annotations

import dataclasses

import pytest

from espalier.codegen.cuda.kernels.choose_schedule import BLOCK_CLOCKS
from espalier.codegen.cuda.launches import KernelLaunch
from espalier.codegen.cuda.prediction import predict
from espalier.targets.gpu import gpu_of_arch

H100 = gpu_of_arch("sm_90a")
LAUNCH = KernelLaunch(
    "conv", "espalier_conv2d", (4, 33, 2), 128, 64 << 10, "float16", 10**9, 2 * 10**9, 10**6, 1e-5, 96, 0, 128
)


def test_every_figure():
    (one,) = predict([LAUNCH], H100)
    assert one.resident == 3  # 228 KiB of shared memory by 64 KiB and what the system takes
    assert one.occupancy == pytest.approx(12 / 64)
    assert (one.waves, one.tail) == (1, pytest.approx(1 - 264 / 396))
    assert one.useful == 0.5
    assert one.roofline_s == pytest.approx(max(1e9 / H100.peak_macs_s("float16"), 1e6 / 3350e9))
    assert one.bound == "compute"
    assert one.predicted_s == 1e-5


def test_it_is_labelled_and_reads_back():
    (one,) = predict([dataclasses.replace(LAUNCH, bytes=10**9)], H100)
    assert one.bound == "memory"
    assert one.to_dict()["kind"] == "prediction"
    assert KernelLaunch.from_dict(LAUNCH.to_dict()) == LAUNCH


def test_what_is_small_is_bound_by_its_launch():
    (one,) = predict([dataclasses.replace(LAUNCH, macs=10**6)], H100)
    assert one.bound == "launch"
    assert one.roofline_s < BLOCK_CLOCKS / H100.clock_hz
