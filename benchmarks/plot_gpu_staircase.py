"""The staircase of latency over channel count that a GPU's waves make, as predicted; writes docs/gpu_staircase.svg.

Nothing in it is measured. Densities are best chosen at the right edges of the steps.

Source: Yu et al., Towards Latency-aware DNN Optimization with GPU Runtime Analysis and Tail Effect Elimination, 2020.
"""

from __future__ import annotations

import argparse

import matplotlib
from support import REPOSITORY

from espalier.codegen.cuda.kernels.choose_schedule import choose_schedule, predicted_s
from espalier.codegen.cuda.kernels.conv2d import Problem
from espalier.targets.gpu import gpu_of_arch

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "espalier"  # the same file every time
from matplotlib import pyplot  # noqa: E402

CHANNELS = range(16, 1025, 16)
BATCHES = (1, 8, 32)
IMAGE, CHANNELS_IN = 14, 256


def problem(batch: int, channels: int) -> Problem:
    """A 3x3 convolution of float16 with so many output channels."""
    x, out = (batch, CHANNELS_IN, IMAGE, IMAGE), (batch, channels, IMAGE, IMAGE)
    return Problem("float16", x, out, (3, 3), corner=(1, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="sm_90a")
    gpu = gpu_of_arch(parser.parse_args().arch)
    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    for batch in BATCHES:
        problems = [problem(batch, channels) for channels in CHANNELS]
        seconds = [predicted_s(one, choose_schedule(one, gpu), gpu) for one in problems]
        axes.step(CHANNELS, [1e6 * one for one in seconds], where="post", label=f"batch {batch}")
    axes.set(xlabel="output channels", ylabel="predicted time, µs", yscale="log")
    axes.set_title(f"3x3, {CHANNELS_IN} channels in, {IMAGE}x{IMAGE}, float16 on {gpu.device}: predicted, not measured")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(REPOSITORY / "docs" / "gpu_staircase.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
