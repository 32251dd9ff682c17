"""The CIFAR-10 networks that recipes train, as torch modules: x float32 [N, 3, 32, 32] to logits [N, 10].

ResNet-20/32/44/56 have option-A shortcuts. M-CifarNet is the FBS paper's network. ResNet-8 is MLPerf Tiny's.

References
    He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
    Gao et al., Dynamic Channel Pruning: Feature Boosting and Suppression, ICLR 2019.
    Banbury et al., MLPerf Tiny Benchmark, NeurIPS Datasets and Benchmarks 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional

MCIFARNET = ((64, 1, 0), (64, 1, 1), (128, 2, 1), (128, 1, 1), (128, 1, 1), (192, 2, 1), (192, 1, 1), (192, 1, 1))
"""M-CifarNet's 3x3 convolutions: output channels, stride, padding."""

LANES = 16
"""Channels of a vector of float32 in AVX-512: what a narrower network still fills."""

WIDTHS = (75, 62, 50)
"""Percent of M-CifarNet's channels in the plain networks that gated ones are compared with."""


def conv(c_in: int, c_out: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps H and W at stride 1."""
    return nn.Conv2d(c_in, c_out, size, stride, size // 2, bias=False)


def narrowed(channels: int, width: float) -> int:
    """`width` times the channels, to the nearest multiple of 16 (of two the larger), at least 16."""
    return max(LANES, int(channels * width / LANES + 0.5) * LANES)


class OptionA(nn.Module):
    """The parameter-free shortcut: every second pixel, zero channels on both sides."""

    def __init__(self, added: int):
        super().__init__()
        self.side = added // 2

    def forward(self, x):
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.side, self.side))


class BasicBlock(nn.Module):
    """Two convolutions, the second one 3x3, and a shortcut; `downsample` replaces the identity.

    inner: channels between the two, None for c_out. size: rows and columns of the first one's kernel.
    A supernet's blocks have a `gate` (`supernet_gates`).
    """

    def __init__(
        self, c_in: int, c_out: int, stride: int, downsample: nn.Module | None, inner: int | None = None, size: int = 3
    ):
        super().__init__()
        inner = inner or c_out
        self.conv1, self.bn1 = conv(c_in, inner, size, stride), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = conv(inner, c_out, 3), nn.BatchNorm2d(c_out)
        self.downsample, self.gate = downsample, None

    def forward(self, x):
        y = self.bn1(self.conv1(x))
        y = torch.relu(y if self.gate is None else self.gate.scaled(x, y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu(self.bn2(self.conv2(y)) + shortcut)


class CifarResNet(nn.Module):
    """ResNet for 32x32 images: x float32 [N, 3, 32, 32] to logits [N, 10]. `depth` is 6n + 2."""

    def __init__(self, depth: int):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 16, 3), nn.BatchNorm2d(16)
        for stage, (c_in, c_out) in enumerate(((16, 16), (16, 32), (32, 64)), 1):
            change = OptionA(c_out - c_in) if stage > 1 else None
            blocks = [BasicBlock(c_in, c_out, 2 if change else 1, change)]
            blocks += [BasicBlock(c_out, c_out, 1, None) for _ in range((depth - 2) // 6 - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class MCifarNet(nn.Module):
    """M-CifarNet: x float32 [N, 3, 32, 32] to logits [N, 10].

    width: every convolution has this many times the channels, to the nearest multiple of 16.
    """

    def __init__(self, width: float = 1.0):
        super().__init__()
        c_in = 3
        for i, (full, stride, padding) in enumerate(MCIFARNET):
            c_out = narrowed(full, width)
            self.add_module(f"conv{i}", nn.Conv2d(c_in, c_out, 3, stride, padding, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(c_out))
            c_in = c_out
        self.linear = nn.Linear(c_in, 10)

    def forward(self, x):
        for i in range(len(MCIFARNET)):
            x = torch.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        return self.linear(x.mean((2, 3)))


class ResNet8(nn.Module):
    """MLPerf Tiny's image classifier: three basic blocks, the shortcuts of two of them strided 1x1 convolutions."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 16, 3), nn.BatchNorm2d(16)
        for stage, (c_in, c_out) in enumerate(((16, 16), (16, 32), (32, 64)), 1):
            change = nn.Conv2d(c_in, c_out, 1, 2) if stage > 1 else None
            self.add_module(f"block{stage}", BasicBlock(c_in, c_out, 2 if change else 1, change))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.block3(self.block2(self.block1(x)))
        return self.linear(x.mean((2, 3)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mcifarnet": MCifarNet,
    **{f"mcifarnet-w{percent}": partial(MCifarNet, percent / 100) for percent in WIDTHS},
    "resnet8": ResNet8,
    "resnet20": partial(CifarResNet, 20),
    "resnet32": partial(CifarResNet, 32),
    "resnet56": partial(CifarResNet, 56),
}
"""Networks by the name that a recipe gives them; "mcifarnet-w50" has half of M-CifarNet's channels."""
