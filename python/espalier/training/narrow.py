"""A narrower network from a wider one's weights: what static pruning of whole channels gives, before it is trained.

It is the control of gates: of every layer the channels stay that are worth most to the average input, by the same
measure that gates begin with (`start.gather`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import nn

from ..core.errors import InvalidInputError
from ..core.plan import Plan
from .data import Images
from .gates import insert_gates
from .reorder import reorder_channels
from .sites import ReadChannels, find_sites
from .start import gather

PLAN = Plan(density=0.5, granularity=1)
"""Gates that only ask what every channel is worth; none of them is kept."""


@torch.no_grad()
def narrow(wide: nn.Module, narrower: nn.Module, images: Images, example) -> nn.Module:
    """Give `narrower` the weights of the channels of `wide` that are worth most; `narrower` is returned.

    Both have the same modules by name, and those of `narrower` at most as many channels. images: at least one batch of
    `start.gather`'s; example: an input's shape.

    Raises InvalidInputError if a layer is narrower whose channels are fixed by an add or a concatenation.
    """
    found, source = find_sites(wide, PLAN, example), insert_gates(wide, PLAN, example)
    source.to(images.images.device)
    with torch.enable_grad():
        worths = {name: one.worth.mean(0) for name, one in gather(source, images).items() if name in found.readers}
    reorder_channels(source, found, {name: torch.from_numpy((-one).argsort()) for name, one in worths.items()})
    ordered = {*worths, *_depthwise(found.readers.values())}
    state, accepted = source.state_dict(), narrower.state_dict()
    for name, tensor in accepted.items():
        layer = name.rpartition(".")[0]
        if layer in found.specs and len(tensor) < len(state[name]) and layer not in ordered:
            raise InvalidInputError(
                f"layer {layer!r}: {len(tensor)} of {len(state[name])} channels, but its channels cannot be put in "
                "another order; accepted are narrower layers that no add or concatenation reads"
            )
        accepted[name] = state[name][tuple(slice(size) for size in tensor.shape)]
    narrower.load_state_dict(accepted)
    return narrower


def _depthwise(readers: Iterable[ReadChannels]) -> Iterator[str]:
    """The depthwise layers among them, which keep the order of their input's channels."""
    for one in readers:
        for name, behind in one.depthwise:
            yield name
            yield from _depthwise([behind])
