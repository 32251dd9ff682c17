"""Who reads the channels of a tensor, and with which weights."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from tvm import relax

from espalier.ir.dataflow import Dataflow, argument, constant, shape_of
from espalier.passes.prune.propagate_activity import KEEPS_ZEROS

CHANNELWISE = (*KEEPS_ZEROS, "relax.clip", "relax.sigmoid", "relax.abs")
"""Stock operators that treat every channel alike and apart from the others."""

FLATTEN = ("relax.reshape", "relax.flatten", "relax.squeeze", "relax.nn.batch_flatten")


@dataclass(frozen=True, eq=False)
class Reader:
    """A layer whose input channels are the tensor's, each `block` columns of its weight [C_out, C_in, ...]."""

    name: str
    weight: np.ndarray
    block: int


@dataclass(frozen=True, eq=False)
class Depthwise:
    """A depthwise convolution of the tensor, weight [C, 1, R, S]; output: the variable of its result."""

    name: str
    weight: np.ndarray
    output: relax.Var


@dataclass
class ChannelReaders:
    """All that reads the channels of one tensor.

    layers: convolutions and dense layers, directly or through channelwise operators.
    depthwise: depthwise convolutions, which hand each channel on.
    others: how often they go elsewhere: an add, a concatenation, a grouped convolution, the model's output.
    """

    layers: list[Reader] = field(default_factory=list)
    depthwise: list[Depthwise] = field(default_factory=list)
    others: int = 0

    @staticmethod
    def of(flow: Dataflow, var: relax.Var) -> ChannelReaders:
        """The readers of the value of `var`, [N, C, H, W]."""
        found = ChannelReaders()
        found._collect(flow, var, shape_of(var)[1])
        return found

    def _collect(self, flow: Dataflow, var: relax.Var, channels: int) -> None:
        self.others += var in set(relax.analysis.free_vars(flow.result))
        for user in flow.users[var]:
            layer = flow.layer_of(user)
            if layer:
                self._read_by_layer(var, user, layer[1], layer[2], channels)
            elif _keeps_channels_apart(flow, var, user):
                self._collect(flow, user, channels)
            else:
                self.others += 1

    def _read_by_layer(self, var: relax.Var, user: relax.Var, spec, call: relax.Call, channels: int) -> None:
        if any(given.same_as(var) for given in call.args[1:]):
            self.others += 1
        if not call.args[0].same_as(var):
            return
        weight = constant(argument(spec, call, "weight"))
        groups = getattr(spec, "groups", 1)
        if groups == 1:
            self.layers.append(Reader(spec.name, weight, weight.shape[1] // channels))
        elif groups == len(weight) == channels and "residual" not in spec.roles:
            self.depthwise.append(Depthwise(spec.name, weight, user))
        else:
            self.others += 1


def reader_norm(flow: Dataflow, var: relax.Var) -> np.ndarray:
    """float64 [C]: the L2 norm over everything that reads a channel; a reader without weights counts as 1.

    Through a depthwise convolution it is the norm of the weights there times that of what reads its output.
    """
    return np.sqrt(_squared_norm(flow, var))


def _squared_norm(flow: Dataflow, var: relax.Var) -> np.ndarray:
    channels, found = shape_of(var)[1], ChannelReaders.of(flow, var)
    total = np.full(channels, float(found.others))
    for reader in found.layers:
        total += np.square(reader.weight, dtype=np.float64).reshape(len(reader.weight), channels, -1).sum((0, 2))
    for one in found.depthwise:
        total += np.square(one.weight, dtype=np.float64).sum((1, 2, 3)) * _squared_norm(flow, one.output)
    return total


def _keeps_channels_apart(flow: Dataflow, var: relax.Var, user: relax.Var) -> bool:
    call = flow.call_of(user)
    if call is None or not call.args[0].same_as(var):
        return False
    return call.op.name in CHANNELWISE or _is_spatial_mean(call) or _is_flatten(call)


def _is_spatial_mean(call: relax.Call) -> bool:
    rank = len(shape_of(call.args[0]))
    return call.op.name == "relax.mean" and sorted(int(axis) % rank for axis in call.attrs.axis or ()) == [2, 3]


def _is_flatten(call: relax.Call) -> bool:
    """[N, C, H, W] to [N, C * H * W]."""
    before = shape_of(call.args[0])
    return call.op.name in FLATTEN and len(before) == 4 and shape_of(call) == (before[0], int(np.prod(before[1:])))
