"""Networks of ImageNet's shapes with random weights, for latency only; torch modules, x float32 [N, 3, 224, 224].

References
    Howard et al., MobileNets, 2017. Sandler et al., MobileNetV2, CVPR 2018.
    Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015 (VGG-16).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from gpu.resnets import CLASSES, classifier, resnet50, unit
from torch import nn

from .networks import resnet18


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1, and a shortcut where shapes allow it."""

    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int):
        super().__init__()
        hidden = c_in * expansion
        layers = [unit(c_in, hidden, 1, activation=nn.ReLU6)] if expansion > 1 else []
        layers.append(unit(hidden, hidden, 3, stride, hidden, nn.ReLU6))
        self.body = nn.Sequential(*layers, unit(hidden, c_out, 1, activation=nn.Identity))
        self.adds = stride == 1 and c_in == c_out

    def forward(self, x):
        return x + self.body(x) if self.adds else self.body(x)


def mobilenet_v1() -> nn.Module:
    """MobileNet-V1 1.0, 569 MMACs."""
    layers, c_in = [unit(3, 32, 3, 2)], 32
    plan = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
    for c_out, stride in plan:
        layers += [unit(c_in, c_in, 3, stride, c_in), unit(c_in, c_out, 1)]
        c_in = c_out
    return nn.Sequential(*layers, *classifier(c_in))


def mobilenet_v2() -> nn.Module:
    """MobileNet-V2 1.0, 301 MMACs."""
    layers, c_in = [unit(3, 32, 3, 2, activation=nn.ReLU6)], 32
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, c_out, count, stride in stages:
        for block in range(count):
            layers.append(InvertedResidual(c_in, c_out, 1 if block else stride, expansion))
            c_in = c_out
    return nn.Sequential(*layers, unit(c_in, 1280, 1, activation=nn.ReLU6), *classifier(1280))


def vgg16() -> nn.Module:
    """VGG-16, 15.5 GMACs."""
    layers, c_in = [], 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(c_in, width, 3, padding=1), nn.ReLU()]
            c_in = width
        layers.append(nn.MaxPool2d(2))
    head = [nn.Flatten(), nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()]
    return nn.Sequential(*layers, *head, nn.Linear(4096, CLASSES))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ResNet-18": resnet18,
    "ResNet-50": resnet50,
    "MobileNet-V1": mobilenet_v1,
    "MobileNet-V2": mobilenet_v2,
    "VGG-16": vgg16,
}


def network(name: str, seed: int = 0) -> nn.Module:
    """One of `NETWORKS` in evaluation mode, its weights drawn with `seed`; torch's own random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name]().eval()
