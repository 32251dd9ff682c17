"""The networks that benchmarks measure, as torch modules, with their checkpoints.

ResNet-20/32/44/56: CIFAR-10, option-A shortcuts, weights by Y. Idelbayev (pytorch_resnet_cifar10, BSD-2-Clause).
M-CifarNet: the FBS paper's network, weights trained by the authors of Espalier.
ResNet-18: ImageNet's shapes with random weights, for latency only.

References
    He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
    Gao et al., Dynamic Channel Pruning: Feature Boosting and Suppression, ICLR 2019.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional

from . import data_folder

RESNET_FILES = {20: "12fca82f", 32: "d509ac18", 44: "014dd654", 56: "4bfd9763"}

MCIFARNET = ((64, 1, 0), (64, 1, 1), (128, 2, 1), (128, 1, 1), (128, 1, 1), (192, 2, 1), (192, 1, 1), (192, 1, 1))
"""M-CifarNet's 3x3 convolutions: output channels, stride, padding."""


def conv(c_in: int, c_out: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps H and W at stride 1."""
    return nn.Conv2d(c_in, c_out, size, stride, size // 2, bias=False)


class OptionA(nn.Module):
    """The parameter-free shortcut: every second pixel, zero channels on both sides."""

    def __init__(self, added: int):
        super().__init__()
        self.side = added // 2

    def forward(self, x):
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.side, self.side))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; `downsample` replaces the identity."""

    def __init__(self, c_in: int, c_out: int, stride: int, downsample: nn.Module | None):
        super().__init__()
        self.conv1, self.bn1 = conv(c_in, c_out, 3, stride), nn.BatchNorm2d(c_out)
        self.conv2, self.bn2 = conv(c_out, c_out, 3), nn.BatchNorm2d(c_out)
        self.downsample = downsample

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
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
    """M-CifarNet: x float32 [N, 3, 32, 32] to logits [N, 10]."""

    def __init__(self):
        super().__init__()
        c_in = 3
        for i, (c_out, stride, padding) in enumerate(MCIFARNET):
            self.add_module(f"conv{i}", nn.Conv2d(c_in, c_out, 3, stride, padding, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(c_out))
            c_in = c_out
        self.linear = nn.Linear(c_in, 10)

    def forward(self, x):
        for i in range(len(MCIFARNET)):
            x = torch.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        return self.linear(x.mean((2, 3)))


class ResNet18(nn.Module):
    """ImageNet's ResNet-18: x float32 [N, 3, 224, 224] to logits [N, 1000]."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 64, 7, 2), nn.BatchNorm2d(64)
        for stage, (c_in, c_out) in enumerate(((64, 64), (64, 128), (128, 256), (256, 512)), 1):
            change = nn.Sequential(conv(c_in, c_out, 1, 2), nn.BatchNorm2d(c_out)) if stage > 1 else None
            blocks = (BasicBlock(c_in, c_out, 2 if change else 1, change), BasicBlock(c_out, c_out, 1, None))
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(512, 1000)

    def forward(self, x):
        x = functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def cifar_resnet(depth: int) -> CifarResNet:
    """The pretrained CIFAR-10 ResNet of depth 20, 32, 44 or 56, in evaluation mode."""
    path = data_folder() / "models-cifar10" / f"resnet{depth}-{RESNET_FILES[depth]}.th"
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return _loaded(CifarResNet(depth), {name.removeprefix("module."): value for name, value in state.items()})


def mcifarnet() -> MCifarNet:
    """The pretrained M-CifarNet, in evaluation mode."""
    path = data_folder() / "models-cifar10" / "mcifarnet.pt"
    return _loaded(MCifarNet(), torch.load(path, map_location="cpu", weights_only=True)["state_dict"])


def resnet18(seed: int = 0) -> ResNet18:
    """ResNet-18 in evaluation mode with random weights and the batch-norm statistics these cause.

    Scales and shifts of the batch norms are drawn too (0.3 to 1.3, 0 +- 0.2); activations stay near unit scale.
    The random state of torch itself is left alone.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = ResNet18().train()
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.weight.uniform_(0.3, 1.3)
            norm.bias.normal_(0, 0.2)
            norm.momentum = None  # the plain average over the batches seen
        for _ in range(2):
            model(torch.randn(8, 3, 128, 128))
    return model.eval()


def _loaded(model: nn.Module, state: dict) -> nn.Module:
    model.load_state_dict(OrderedDict(state))
    return model.eval()
