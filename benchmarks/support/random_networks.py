"""Random pairs of a small network and a plan, always the same for a number."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from espalier.core.plan import Plan

SIZE, CLASSES = 32, 10
WIDTHS = (16, 24, 32, 48, 64, 96, 128)
KINDS = ("plain", "residual", "bottleneck", "separable")
DENSITIES, PLACEMENTS = (0.25, 0.5, 0.75), ("inner", "branch", "sum")


class RandomNetwork(nn.Module):
    """Two or three stages of one or two blocks, x float32 [N, 3, 32, 32] to logits [N, 10]."""

    def __init__(self, random: np.random.Generator):
        super().__init__()
        width = int(random.choice(WIDTHS[:4]))
        layers: list[nn.Module] = [_layer(3, width, 3)]
        for stage in range(int(random.integers(2, 4))):
            out, pools = int(random.choice(WIDTHS)), bool(random.random() < 0.3)
            for block in range(int(random.integers(1, 3))):
                stride = 2 if stage > 0 and block == 0 and not pools else 1
                layers.append(_block(str(random.choice(KINDS)), width, out, stride))
                width = out
            layers += [nn.MaxPool2d(2)] if pools else []
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(width, CLASSES)

    def forward(self, x):
        return self.head(self.layers(x).mean((2, 3)))


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module, change: nn.Module | None):
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, x):
        return torch.relu(self.inner(x) + (x if self.change is None else self.change(x)))


def _layer(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True) -> nn.Module:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), *([nn.ReLU()] if relu else []))


def _block(kind: str, c_in: int, c_out: int, stride: int) -> nn.Module:
    if kind == "plain":
        return _layer(c_in, c_out, 3, stride)
    if kind == "separable":
        return nn.Sequential(_layer(c_in, c_in, 3, stride, c_in), _layer(c_in, c_out, 1))
    if kind == "bottleneck":
        middle = max(16, c_out // 2)
        return nn.Sequential(_layer(c_in, middle, 1), _layer(middle, middle, 3, stride), _layer(middle, c_out, 1))
    change = None if c_in == c_out and stride == 1 else _layer(c_in, c_out, 1, stride, relu=False)
    return _Residual(nn.Sequential(_layer(c_in, c_out, 3, stride), _layer(c_out, c_out, 3, relu=False)), change)


def random_pair(number: int, seed: int = 2026) -> tuple[nn.Module, Plan]:
    """The pair of this number: a network in evaluation mode, dense in one of three pairs, and a plan."""
    random = np.random.default_rng((seed, number))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        network = RandomNetwork(random).eval()
    winograd = bool(random.random() < 0.7)
    if random.random() < 1 / 3:
        return network, Plan(winograd=winograd)
    density, placement = float(random.choice(DENSITIES)), str(random.choice(PLACEMENTS))
    return network, Plan(density=density, placement=placement, winograd=winograd)
