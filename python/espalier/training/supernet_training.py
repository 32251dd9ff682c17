"""Training a supernet: the loop of any training, whose step follows the sandwich rule.

In each step, or in one of `largest_every`, the largest network learns from the labels and from the recipe's teacher, if
it has one. The smallest one and `drawn` others, each with weights in one of the recipe's formats, learn from what the
largest one answers to the same images, or the teacher where the largest one does not learn. A step's loss is the mean.
Small networks are drawn about as often as large ones: of a space few are small, and these are furthest from what they
reach when they are trained alone. With the recipe's drawn_densities each of the small networks has one of these, and
gates, which they share (`supernet_gates`).
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import nn

from ..core.architecture import Architecture, ArchitectureSpace, architecture_space, work_of
from .families import FamilyNetwork
from .finished import drawn_network
from .gates import found_gates
from .loop import Training
from .supernet import logits_of, soft_loss
from .supernet_gates import GRANULARITIES, gate_blocks, start_shared_gates
from .supernet_start import start_from_resnet

CANDIDATES = 16
"""Of which a drawn network is the one that has most nearly the work that was drawn."""


class SupernetTraining(Training):
    """A recipe with a space at work; see `Training`. The accuracy of an epoch is that of the largest network."""

    def _model(self, network: nn.Module, state: dict | None) -> nn.Module:
        self.space = architecture_space(self.recipe.space)
        if self.recipe.narrowed_from:
            largest = drawn_network(self.recipe)
            network = largest if state is not None else start_from_resnet(largest, network)
        if self.recipe.drawn_densities and not found_gates(network):
            gate_blocks(network)
            if state is None and self.recipe.follow is not None:
                start_shared_gates(network, self.train, self.recipe.follow)
        return network

    def _begin(self, number: int) -> None:
        super()._begin(number)
        self.random, self.steps = np.random.default_rng((self.recipe.seed, number)), itertools.count()

    def _backward(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        taught, formats, losses = self._taught(images), self.recipe.drawn_formats, []
        if next(self.steps) % self.recipe.largest_every == 0:
            with self._products():
                logits = self.trained(images).float()
            losses.append(self._loss(logits, taught, labels))
            losses[0].backward()
            taught = logits.detach()
        drawn = [drawn_evenly(self.space, self.random) for _ in range(self.recipe.drawn)]
        for architecture in (self.space.smallest, *drawn):
            network = self._part(architecture).to(self.device)
            with self._products():
                weights = formats[self.random.integers(len(formats))]
                answer = logits_of(self.model, network, images, weights).float()
            losses.append(soft_loss(answer, taught))
            losses[-1].backward()
        return sum(loss.item() for loss in losses) / len(losses)

    def _part(self, architecture: Architecture) -> FamilyNetwork:
        """A network that is to compute with the supernet's weights, and with its gates where the recipe draws them."""
        network = FamilyNetwork(architecture)
        if densities := self.recipe.drawn_densities:
            drawn = (one[self.random.integers(len(one))] for one in (densities, GRANULARITIES))
            gate_blocks(network, *drawn)
        return network


def drawn_evenly(space: ArchitectureSpace, random: np.random.Generator) -> Architecture:
    """A network, each logarithm of multiply-accumulates with about the same chance."""
    wanted = random.uniform(*(math.log(work_of(one)[0]) for one in (space.smallest, space.largest)))
    candidates = [space.sample(random) for _ in range(CANDIDATES)]
    return min(candidates, key=lambda one: abs(math.log(work_of(one)[0]) - wanted))
