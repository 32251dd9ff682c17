"""A supernet's first weights from a trained ResNet: its largest network then computes what that one computes.

Channels are put in order first, those whose readers have the largest weights before the others, so that narrower
networks begin with the better ones. The parameter-free shortcuts become 1x1 convolutions with weights of 0 and 1.
"""

from __future__ import annotations

import torch

from ..core.errors import InvalidInputError
from .families import FamilyNetwork
from .networks import BasicBlock, CifarResNet, OptionA

NORM = ("weight", "bias", "running_mean", "running_var")


@torch.no_grad()
def start_from_resnet(largest: FamilyNetwork, source: CifarResNet) -> FamilyNetwork:
    """Give `largest` the weights of `source` and return it.

    Raises InvalidInputError unless both have the same stages of the same depths and widths.
    """
    stages = [getattr(source, f"layer{number}") for number in (1, 2, 3)]
    got = [(len(stage), stage[0].conv2.out_channels) for stage in stages]
    accepted = [(one.depth, one.width) for one in largest.architecture.stages]
    if got != accepted or any(one.inner != one.width or one.kernel != 3 for one in largest.architecture.stages):
        raise InvalidInputError(f"supernet: got a ResNet with (depth, width) {got}, accepted are {accepted}")
    orders = _orders(stages, source.linear)
    largest.stem.weight.copy_(source.conv1.weight[orders[0]])
    _copy_norm(largest.norm, source.bn1, orders[0])
    for number, stage in enumerate(stages):
        read = orders[max(0, number - 1)]
        for to, block in zip(getattr(largest, f"stage{number + 1}"), stage):
            _copy_block(to, block, read, orders[number])
            read = orders[number]
    largest.linear.weight.copy_(source.linear.weight[:, orders[-1]])
    largest.linear.bias.copy_(source.linear.bias)
    return largest


def _orders(stages, linear) -> list[torch.Tensor]:
    """The channels of each stage's output, the most worth first."""
    found = []
    for number, stage in enumerate(stages):
        readers = [block.conv1.weight for block in (stage if number == 0 else stage[1:])]
        if number == len(stages) - 1:
            readers.append(linear.weight)
        found.append(_order(sum(one.transpose(0, 1).flatten(1).square().mean(1) for one in readers)))
    return found


def _order(worth: torch.Tensor) -> torch.Tensor:
    return worth.argsort(descending=True, stable=True)


def _copy_block(to: BasicBlock, block: BasicBlock, read: torch.Tensor, written: torch.Tensor) -> None:
    inner = _order(block.bn1.weight.abs() * block.conv2.weight.square().sum((0, 2, 3)).sqrt())
    to.conv1.weight.copy_(block.conv1.weight[inner][:, read])
    to.conv2.weight.copy_(block.conv2.weight[written][:, inner])
    _copy_norm(to.bn1, block.bn1, inner)
    _copy_norm(to.bn2, block.bn2, written)
    if isinstance(block.downsample, OptionA):
        same = written[:, None] - block.downsample.side == read[None, :]
        to.downsample.weight.copy_(same.float()[:, :, None, None])


def _copy_norm(to, norm, order: torch.Tensor) -> None:
    for name in NORM:
        getattr(to, name).copy_(getattr(norm, name)[order])
