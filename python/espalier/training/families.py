"""Networks of an architecture as torch modules: x float32 [N, 3, 32, 32] to logits [N, 10], see `core.architecture`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from ..core.architecture import CLASSES, SPACES, Architecture, Stage
from .networks import BasicBlock, conv


class InvertedResidual(nn.Module):
    """1x1 to `inner` channels (without, where these are as many as come in), depthwise, 1x1 to `c_out`."""

    def __init__(self, c_in: int, inner: int, c_out: int, kernel: int, stride: int):
        super().__init__()
        self.expand = nn.Sequential(conv(c_in, inner, 1), nn.BatchNorm2d(inner), nn.ReLU6())
        self.depthwise = nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False)
        self.norm, self.relu = nn.BatchNorm2d(inner), nn.ReLU6()
        self.project, self.project_norm = conv(inner, c_out, 1), nn.BatchNorm2d(c_out)
        self.is_residual = c_in == c_out and stride == 1

    def forward(self, x):
        y = self.relu(self.norm(self.depthwise(self.expand(x))))
        y = self.project_norm(self.project(y))
        return x + y if self.is_residual else y


class FamilyNetwork(nn.Module):
    """Layers are named `stem`, `stage1.0.conv1` and so on, and `linear`."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture, channels = architecture, architecture.stages[0].width
        self.stem, self.norm = conv(3, channels, 3), nn.BatchNorm2d(channels)
        for number, stage in enumerate(architecture.stages, 1):
            read = (channels, *[stage.width] * (stage.depth - 1))
            blocks = [_block(architecture.family, c_in, stage, block) for block, c_in in enumerate(read)]
            self.add_module(f"stage{number}", nn.Sequential(*blocks))
            channels = stage.width
        self.linear = nn.Linear(channels, CLASSES)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        for number in range(1, len(self.architecture.stages) + 1):
            x = getattr(self, f"stage{number}")(x)
        return self.linear(x.mean((2, 3)))


def _block(family: str, c_in: int, stage: Stage, number: int) -> nn.Module:
    stride = stage.stride if number == 0 else 1
    if family == "mobilenet":
        return InvertedResidual(c_in, stage.inner, stage.width, stage.kernel, stride)
    change = None if c_in == stage.width and stride == 1 else nn.Conv2d(c_in, stage.width, 1, stride, bias=False)
    return BasicBlock(c_in, stage.width, stride, change, stage.inner, stage.kernel)


LARGEST: dict[str, Callable[[], nn.Module]] = {
    f"{name}-largest": partial(FamilyNetwork, space.largest) for name, space in SPACES.items()
}
"""The largest network of each space, by the name that a recipe gives it."""
