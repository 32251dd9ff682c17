"""Channel gates that all networks of a supernet share, as they share its weights.

A gate's phi and rho belong to channels, not to groups of them: of the largest network's a smaller one has the first
input and output channels, in any granularity and at any density. In the largest network itself, and at density 1, the
gates rest: the network is then the one that the compiler builds without gates.

They are for residual blocks, of which the compiler gates the first convolution. A network that is taken out gets gates
of the ordinary kind (`insert_gates`), and `share_gates` gives these the supernet's values.
"""

from __future__ import annotations

import torch
from torch import nn

from ..core.errors import InvalidInputError
from ..core.plan import kept_groups
from .data import Images
from .families import FamilyNetwork
from .gates import ChannelGate, gates_of
from .layer_ends import scale_channels
from .networks import BasicBlock
from .start import gather, predict
from .supernet import part_of

GRANULARITIES = (1, 4, 8)
"""Channels that a gate keeps together, by which every network of a space can be gated."""


class BlockGate(ChannelGate):
    """The gate of a block's first convolution. rests: it leaves everything as it is."""

    rests = False

    def scaled(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """y [N, C, H, W], what the convolution and its norm make of the block's input x, times pi(x)."""
        return y if self.rests else scale_channels(y, self(x)[0])


def gate_blocks(network: FamilyNetwork, density: float = 1.0, granularity: int = 1) -> None:
    """Give each block of a network a gate; those that keep all channels rest.

    Raises InvalidInputError for a network of a family that has no residual blocks.
    """
    if network.architecture.family != "resnet":
        raise InvalidInputError(f"supernet: got gates in {network.architecture}, accepted are those of a resnet")
    for block in [one for one in network.modules() if isinstance(one, BasicBlock)]:
        inner = block.conv1.out_channels
        block.gate = BlockGate(block.conv1.in_channels, inner, granularity, density)
        block.gate.kept = kept_groups(inner, density, granularity)
        block.gate.rests = block.gate.kept == block.gate.groups


def start_shared_gates(largest: FamilyNetwork, images: Images, follow: float) -> None:
    """Give the gates of the largest network their first values, as `start.start_gates` does, channel by channel."""
    gates = gates_of(largest)
    for gate in gates.values():
        gate.rests = False
    for name, evidence in gather(largest, images).items():
        predict(gates[name], evidence, follow)
    for gate in gates.values():
        gate.rests = True


@torch.no_grad()
def share_gates(gated: nn.Module, largest: FamilyNetwork) -> None:
    """Give a network with gates, a part of the largest one, this one's phi and rho; its statistics are then to be
    recalibrated."""
    for name, gate in gates_of(gated).items():
        shared = largest.get_submodule(f"{name.rpartition('.')[0]}.gate")
        gate.phi.copy_(part_of(shared.phi, gate.phi.shape))
        gate.rho.copy_(part_of(shared.rho, gate.rho.shape))
