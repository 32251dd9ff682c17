"""The networks that benchmarks measure, as torch modules, with their checkpoints.

ResNet-20/32/44/56: CIFAR-10, option-A shortcuts, weights by Y. Idelbayev (pytorch_resnet_cifar10, BSD-2-Clause).
M-CifarNet: the FBS paper's network, weights trained by the authors of Espalier.
ResNet-18: ImageNet's shapes with random weights, for latency only.

References
    He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
    Gao et al., Dynamic Channel Pruning: Feature Boosting and Suppression, ICLR 2019.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from espalier.training.checkpoint import load_weights
from espalier.training.networks import BasicBlock, CifarResNet, MCifarNet, conv

from . import data_folder

RESNET_FILES = {20: "12fca82f", 32: "d509ac18", 44: "014dd654", 56: "4bfd9763"}


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
    return load_weights(CifarResNet(depth), path).eval()


def mcifarnet() -> MCifarNet:
    """The pretrained M-CifarNet, in evaluation mode."""
    return load_weights(MCifarNet(), data_folder() / "models-cifar10" / "mcifarnet.pt").eval()


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
