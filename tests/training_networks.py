"""Small torch networks with batch statistics of their own, and gates that differ from input to input."""

from __future__ import annotations

import torch
from torch import nn

from espalier.training.gates import gates_of


class Chain(nn.Module):
    """conv0, conv1, conv2 with norms and three kinds of activation, a pool and a dropout between them, then linear."""

    def __init__(self, channels: int = 16):
        super().__init__()
        self.conv0, self.bn0 = nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu6, self.dropout, self.pool = nn.ReLU6(), nn.Dropout(0.1), nn.MaxPool2d(2)
        self.linear = nn.Linear(channels, 10)

    def forward(self, x):
        x = self.pool(torch.relu(self.dropout(self.bn0(self.conv0(x)))))
        x = self.relu6(self.bn1(self.conv1(x)))
        return self.linear(torch.sigmoid(self.conv2(x)).mean((2, 3)))


class Block(nn.Module):
    """A residual block whose shortcut is an identity, or a strided 1x1 convolution."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        stride = 1 if c_in == c_out else 2
        self.conv1, self.bn1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out)
        self.conv2, self.bn2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(c_in, c_out, 1, stride)

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Residual(nn.Module):
    """A stem and two blocks, then linear."""

    def __init__(self, channels: int = 16):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.block1, self.block2 = Block(channels, channels), Block(channels, 2 * channels)
        self.linear = nn.Linear(2 * channels, 10)

    def forward(self, x):
        return self.linear(self.block2(self.block1(torch.relu(self.stem(x)))).mean((2, 3)))


class Mobile(nn.Module):
    """A stem, a depthwise convolution that carries the stem's gate, and a pointwise one, then linear."""

    def __init__(self, channels: int = 16):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.linear = nn.Linear(channels, 10)

    def forward(self, x):
        x = torch.relu(self.depthwise(torch.relu(self.stem(x))))
        return self.linear(torch.relu(self.pointwise(x)).mean((2, 3)))


def example(count: int = 2) -> torch.Tensor:
    """Images [count, 3, 8, 8]."""
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def network(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """A network with drawn weights and batch statistics, in inference mode."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = kind()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(-1.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
                module.running_mean.uniform_(-0.3, 0.3)
                module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def draw_gates(model: nn.Module) -> nn.Module:
    """The same model with gates that choose by the input."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for gate in gates_of(model).values():
            gate.phi.normal_(0, 0.3, generator=generator)
            gate.rho.uniform_(0.2, 1, generator=generator)
    return model
