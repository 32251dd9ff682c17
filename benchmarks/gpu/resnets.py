"""ResNet-18 and ResNet-50 as plain torch modules, x [N, 3, 224, 224], for a machine that has torch and not Espalier.

References
    He et al., Deep Residual Learning for Image Recognition, CVPR 2016 (ResNet-50, stride in the 3x3 convolution).
"""

from __future__ import annotations

import torch
from torch import nn

CLASSES = 1000


def unit(c_in: int, c_out: int, size: int, stride: int = 1, groups: int = 1, activation=nn.ReLU) -> nn.Sequential:
    """Convolution, batch norm, activation."""
    convolution = nn.Conv2d(c_in, c_out, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(c_out), activation())


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with four times as many channels, and a shortcut."""

    def __init__(self, c_in: int, width: int, stride: int):
        super().__init__()
        c_out = 4 * width
        self.reduce, self.conv = unit(c_in, width, 1), unit(width, width, 3, stride)
        self.expand = unit(width, c_out, 1, activation=nn.Identity)
        changes = stride > 1 or c_in != c_out
        self.downsample = unit(c_in, c_out, 1, stride, activation=nn.Identity) if changes else nn.Identity()

    def forward(self, x):
        return torch.relu(self.expand(self.conv(self.reduce(x))) + self.downsample(x))


class Basic(nn.Module):
    """3x3, 3x3, and a shortcut."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.branch = nn.Sequential(unit(c_in, c_out, 3, stride), unit(c_out, c_out, 3, activation=nn.Identity))
        changes = stride > 1 or c_in != c_out
        self.downsample = unit(c_in, c_out, 1, stride, activation=nn.Identity) if changes else nn.Identity()

    def forward(self, x):
        return torch.relu(self.branch(x) + self.downsample(x))


def resnet18() -> nn.Module:
    """ResNet-18, 1.8 GMACs."""
    layers, c_in = [unit(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for c_out in (64, 128, 256, 512):
        layers += [Basic(c_in, c_out, 2 if c_out > 64 else 1), Basic(c_out, c_out, 1)]
        c_in = c_out
    return nn.Sequential(*layers, *classifier(c_in))


def resnet50() -> nn.Module:
    """ResNet-50, 4.1 GMACs."""
    layers, c_in = [unit(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for stage, (width, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(count):
            layers.append(Bottleneck(c_in, width, 2 if stage and not block else 1))
            c_in = 4 * width
    return nn.Sequential(*layers, *classifier(c_in))


def classifier(channels: int) -> list[nn.Module]:
    """Global average, then one dense layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]
