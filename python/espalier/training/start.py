"""Where gates begin: channels of like use in one group, and saliencies that predict what a group is worth.

With phi = 0 and rho = 1 every group is worth the same, so which one loses first is arbitrary and what is lost must be
learned back. Here the network's own gradient says what each channel is worth to each input. A channel scaled by pi
changes the loss by d loss / d pi, summed over its pixels, per unit of pi: the first term of the loss's Taylor series,
Molchanov et al.'s measure of importance, which a gate gives for nothing.

References
    Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference, ICLR 2017.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import fx
from torch.nn import functional

from ..core.errors import InvalidInputError
from ..core.plan import kept_groups
from .data import Images
from .gates import ChannelGate, gates_of, mean_magnitude
from .layer_ends import LayerEnds
from .reorder import reorder_channels
from .sites import FoundSites

SAMPLES = 4000
BATCH = 250
ARRANGED = 1000
"""Images of which an order of channels is judged."""

TEMPERATURE = 4.0
"""Softens the outputs of a network that is certain of its training images, whose gradients would otherwise vanish."""

SPREAD = 0.2
"""How far saliencies are from 1: small, so that boosting changes the network little before it learns to."""

RIDGE = 100.0
QUIET = 0.05
"""Share of the mean channel's spread that is added to a channel's when it is normalised."""

SWAPS = 12_000


@dataclass(frozen=True)
class Evidence:
    """What images say of one gate. features: [S, C_in], the mean of |x|; worth: [S, C_out], each image's sum 1."""

    features: np.ndarray
    worth: np.ndarray


def start_gates(
    model: fx.GraphModule, found: FoundSites, images: Images, follow: float, following: Collection[str] = ()
) -> None:
    """Arrange the channels of a freshly gated network into groups and give its gates their first saliencies.

    follow: how much the choice follows the input, 0 (the same groups for every input) to 1 (as well as a linear
    predictor can). following: the layers for which it is 1. Apart from that dependence the network computes at density
    1 what it computed before, wherever the norm or the convolution in front of the gate can take the inverse of its
    mean.

    Raises InvalidInputError if `following` names a layer without a gate.
    """
    unknown = sorted(set(following) - set(gates_of(model)))
    if unknown:
        raise InvalidInputError(f"following: got {', '.join(unknown)}, accepted are {', '.join(gates_of(model))}")
    worths = {name: one.worth for name, one in gather(model, images, ARRANGED).items()}
    orders = {
        name: torch.from_numpy(arranged(worths[name], gate.granularity, _kept(gate)))
        for name, gate in gates_of(model).items()
        if name in found.readers
    }
    reorder_channels(model, found, orders)
    for name, evidence in gather(model, images).items():
        mean = predict(gates_of(model)[name], evidence, 1.0 if name in following else follow)
        _divide(LayerEnds(model), name, found, mean)


def gather(model: fx.GraphModule, images: Images, samples: int = SAMPLES) -> dict[str, Evidence]:
    """The evidence for every gate from the first images; the network must keep all channels."""
    gates, seen = gates_of(model), {}
    hooks = [gate.register_forward_hook(_recorder(seen, name)) for name, gate in gates.items()]
    features, worths = ({name: [] for name in gates} for _ in range(2))
    model.eval()
    count = min(samples, len(images))
    for number, (x, labels) in enumerate(images.plain_batches(BATCH)):
        if number * BATCH >= count:
            break
        loss = functional.cross_entropy(model(x) / TEMPERATURE, labels, reduction="sum")
        gradients = torch.autograd.grad(loss, [pi for _, pi in seen.values()])
        for (name, (source, _)), gradient in zip(seen.items(), gradients):
            features[name].append(mean_magnitude(source.detach()).cpu().numpy())
            worths[name].append(gradient.abs().cpu().numpy())
    for hook in hooks:
        hook.remove()
    return {name: Evidence(np.concatenate(features[name]), _shares(np.concatenate(worths[name]))) for name in gates}


def arranged(worth: np.ndarray, granularity: int, kept: int, seed: int = 0) -> np.ndarray:
    """int64 [C]: an order of the channels whose groups win together with the largest worth.

    worth: [S, C]. Begins with the channels in order of their mean worth and swaps channels of different groups as long
    as the worth of each image's `kept` best groups grows; the groups then come in order of their mean worth.
    """
    random, channels = np.random.default_rng(seed), worth.shape[1]
    groups = channels // granularity
    group = np.empty(channels, np.int64)
    group[np.argsort(-worth.mean(0), kind="stable")] = np.arange(channels) // granularity
    sums = np.stack([worth[:, group == one].sum(1) for one in range(groups)], 1)
    best = _won(sums, kept)
    for i, j in random.integers(channels, size=(SWAPS, 2)):
        if group[i] == group[j]:
            continue
        swapped, change = sums.copy(), worth[:, i] - worth[:, j]
        swapped[:, group[i]] -= change
        swapped[:, group[j]] += change
        if (value := _won(swapped, kept)) > best:
            best, sums = value, swapped
            group[i], group[j] = group[j], group[i]
    rank = np.argsort(np.argsort(-sums.mean(0), kind="stable"))
    return np.argsort(rank[group], kind="stable")


@torch.no_grad()
def predict(gate: ChannelGate, evidence: Evidence, follow: float) -> np.ndarray:
    """Set phi and rho: 1 + SPREAD * (predicted worth of the group - 1), in units of the mean group. Their mean [C]."""
    grouped = evidence.worth.reshape(len(evidence.worth), -1, gate.granularity).sum(2)
    target = grouped / grouped.mean()
    centre, spread = evidence.features.mean(0), evidence.features.std(0)
    scale = spread + QUIET * spread.mean() + 1e-6  # a channel that hardly ever speaks must not shout when it does
    normal = (evidence.features - centre) / scale
    slopes = np.linalg.solve(normal.T @ normal + RIDGE * np.eye(len(scale)), normal.T @ (target - target.mean(0)))
    slopes *= follow / scale[:, None]
    mean = np.maximum(1 + SPREAD * (target.mean(0) - 1), SPREAD)
    phi, rho = SPREAD * slopes, mean - SPREAD * centre @ slopes
    gate.phi.copy_(torch.from_numpy(phi.repeat(gate.granularity, 1)))
    gate.rho.copy_(torch.from_numpy(rho.repeat(gate.granularity)))
    return mean.repeat(gate.granularity)


def _won(sums: np.ndarray, kept: int) -> float:
    """Mean over images of what the `kept` best of their groups [S, G] are worth."""
    first = sums.shape[1] - kept
    return float(np.partition(sums, first, axis=1)[:, first:].sum(1).mean()) if first else float(sums.sum(1).mean())


def _recorder(seen: dict, name: str):
    def record(_gate, inputs, outputs) -> None:
        seen[name] = inputs[0], outputs[0]

    return record


def _shares(worth: np.ndarray) -> np.ndarray:
    return worth / np.maximum(worth.sum(1, keepdims=True), np.finfo(np.float32).tiny)


@torch.no_grad()
def _divide(ends: LayerEnds, name: str, found: FoundSites, mean: np.ndarray) -> None:
    """Take the mean saliency out of the layer that the gate scales, where nothing but a ReLU lies between them."""
    spec, gate = found.specs[name], found.sites[name].gate
    if gate != "branch" and ("residual" in spec.roles or spec.activation.kind == "clip"):
        return
    norm, convolution = ends.norm(name), ends.modules[name]
    for tensor in (convolution.weight, convolution.bias) if norm is None else (norm.weight, norm.bias):
        if tensor is not None:
            tensor.div_(torch.from_numpy(mean).to(tensor).view(-1, *[1] * (tensor.ndim - 1)))


def _kept(gate: ChannelGate) -> int:
    return kept_groups(len(gate.rho), gate.density, gate.granularity)
