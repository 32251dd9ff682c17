"""One set of weights for all networks of a space: a network's are the first channels of the largest network's.

Of every tensor of the largest network a smaller one has the first output and input channels, and the middle of the
kernel; it has the first blocks of each stage. It runs on batch statistics in training; a network that is taken out gets
its own, see `recalibrate`. What is taken out is a plain torch network: gates and quantizers are inserted into it as
into any other (`insert_gates`, `insert_quantizers`), and the compiler builds it under any plan.

References
    Yu and Huang, Universally Slimmable Networks and Improved Training Techniques, ICCV 2019 (sandwich rule, in-place
        distillation, statistics after training).
    Cai et al., Once-for-All, ICLR 2020 (kernels share their middle).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ..core.architecture import Architecture
from ..core.errors import InvalidInputError
from ..core.formats import Uniform, parse_format
from .data import Images
from .families import FamilyNetwork

CLIP_DEVIATIONS = (2.5, 4.0)
"""Where weights may be cut off that are rounded in training, in root mean squares of a channel, or nowhere: the least
squared error of normally distributed weights in four and in eight bits lies near these."""

RECALIBRATION_BATCH = 128


def part_of(tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The first channels and the middle of the kernel: a view of `tensor`."""
    if any(small > large for small, large in zip(shape, tensor.shape)) or len(shape) != tensor.ndim:
        raise InvalidInputError(f"supernet: got a part of {list(shape)}, accepted are parts of {list(tensor.shape)}")
    starts = [0 if axis < 2 else (large - small) // 2 for axis, (small, large) in enumerate(zip(shape, tensor.shape))]
    return tensor[tuple(slice(start, start + size) for start, size in zip(starts, shape))]


def shared_parameters(largest: nn.Module, network: nn.Module, weights: str = "float32") -> dict[str, torch.Tensor]:
    """The parameters of `network` as parts of the largest one's, through which gradients flow.

    weights: a format "uniform<bits>" in which convolutions' weights are rounded, straight through; or "float32".
    """
    whole = dict(largest.named_parameters())
    parts = {name: part_of(whole[name], one.shape) for name, one in network.named_parameters()}
    fmt = parse_format(weights)
    if not fmt.is_quantized:
        return parts
    if not isinstance(fmt, Uniform):
        raise InvalidInputError(f"supernet: got weights in {weights}, accepted are float32 and uniform<bits>")
    return {name: rounded(one, fmt.bits) if one.ndim == 4 else one for name, one in parts.items()}


def rounded(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """The weight [C, ...] on 2^bits - 1 levels a channel, evenly spaced around 0; its gradient is the weight's.

    A channel is cut off where its squared error is least: a shortcut's single 1 among zeros must stay.
    """
    most = 2 ** (bits - 1) - 1
    flat = weight.detach().flatten(1)
    whole, square = flat.abs().amax(1, keepdim=True), flat.square().mean(1, keepdim=True).sqrt()
    best, least = flat, torch.full_like(whole, torch.inf)
    for reach in (whole, *(one * square for one in CLIP_DEVIATIONS)):
        step = torch.minimum(reach, whole).clamp(min=1e-12) / most
        levels = (flat / step).round().clamp(-most, most) * step
        error = (levels - flat).square().sum(1, keepdim=True)
        best, least = torch.where(error < least, levels, best), torch.minimum(error, least)
    return weight + (best.reshape(weight.shape) - weight.detach())


def logits_of(largest: nn.Module, network: nn.Module, images: torch.Tensor, weights: str = "float32") -> torch.Tensor:
    """What `network` computes with the supernet's weights, on batch statistics, for training."""
    return torch.func.functional_call(network, shared_parameters(largest, network, weights), (images,))


def soft_loss(logits: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with the largest network's probabilities."""
    return functional.cross_entropy(logits, taught.softmax(1))


@torch.no_grad()
def extract(largest: FamilyNetwork, architecture: Architecture) -> FamilyNetwork:
    """A network with its own copy of the weights; its statistics are to be recalibrated.

    Raises InvalidInputError for an architecture that is no part of the largest one.
    """
    check_part(largest.architecture, architecture)
    network = FamilyNetwork(architecture)
    for name, part in shared_parameters(largest, network).items():
        network.get_parameter(name).copy_(part)
    return network.to(memory_format=torch.channels_last).eval()


def check_part(largest: Architecture, architecture: Architecture) -> None:
    """Raise InvalidInputError unless the largest network holds the weights of this one."""
    pairs = list(zip(largest.stages, architecture.stages))
    same = largest.family == architecture.family and len(largest.stages) == len(architecture.stages)
    if not same or any(
        small.stride != large.stride
        or any(getattr(small, name) > getattr(large, name) for name in ("depth", "width", "inner", "kernel"))
        for large, small in pairs
    ):
        raise InvalidInputError(f"supernet: got {architecture}, accepted are parts of {largest}")


@torch.no_grad()
def recalibrate(network: nn.Module, images: Images) -> nn.Module:
    """Give the batch norms of a network the statistics of these images, and put it into inference mode."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    network.train()
    for batch, _ in images.plain_batches(RECALIBRATION_BATCH):
        network(batch)
    for norm in norms:
        norm.momentum = 0.1
    return network.eval()
