"""Recipes: everything that decides what a training gives, as plain values."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from ..core.errors import InvalidInputError
from ..core.plan import Plan


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    network: a name in `networks.NETWORKS`. start: its weights to begin with, a path in the data folder; None draws
        them. With gates the network that is started from is the teacher too.
    plan: the densities to reach; without any below 1 the network gets no gates.
    epochs, batch, seed: seed decides the drawn weights, the order of the images and how they are augmented.
    learning_rate: falls to 0 over all epochs as a cosine, after `warm_up` epochs in which it rises.
    momentum (Nesterov's), weight_decay: of tensors of two and more dimensions; vectors do not decay.
    label_smoothing: of the labels' cross-entropy.
    distillation: share of the teacher's divergence in the loss, the rest are the labels; temperature: of both.
    sparsity: the paper's lambda, on the sum of the saliencies.
    follow: how much the gates follow the input when they begin, 0 to 1, see `start.start_gates`; None begins as the
        paper does, with all channels worth the same.
    lowering: the share of the epochs in which the density falls from 1 to the plan's, in steps of 0.1.
    clip: largest norm of a gradient, which is scaled down to it.
    bfloat16: compute products in bfloat16 (weights and gates stay float32); twice as fast where the processor can.
    """

    name: str
    network: str
    start: str | None = None
    plan: Plan = Plan()
    epochs: int = 30
    batch: int = 128
    seed: int = 0
    learning_rate: float = 0.05
    warm_up: float = 0.5
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    distillation: float = 0.0
    temperature: float = 4.0
    sparsity: float = 1e-8
    follow: float | None = 0.25
    lowering: float = 0.0
    clip: float = 5.0
    bfloat16: bool = False

    def __post_init__(self):
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name}: got {getattr(self, name)}, accepted are whole numbers from 1")

    @property
    def is_gated(self) -> bool:
        """Whether the network gets gates."""
        return self.lowest_density < 1

    @property
    def lowest_density(self) -> float:
        """Of the plan's layers."""
        return min(one.density for one in (self.plan.default, *map(self.plan.layer, self.plan.layers)))

    def density(self, epoch: int) -> float:
        """What `set_density` is given in an epoch (from 0); the plan's densities hold from below, and in the last."""
        lowest = self.lowest_density
        steps = math.ceil(round((1 - lowest) / 0.1, 6))
        each = self.epochs * self.lowering / max(steps, 1)
        step = steps if each == 0 or epoch == self.epochs - 1 else min(steps, int(epoch / each + 1e-9))
        return lowest if step == steps else round(1 - 0.1 * step, 6)

    def learning_rate_factor(self, step: int, steps_per_epoch: int) -> float:
        """What the learning rate is multiplied by in the step-th batch of the whole training."""
        total, warm = self.epochs * steps_per_epoch, self.warm_up * steps_per_epoch
        return min(1.0, (step + 1) / max(warm, 1)) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))

    def to_dict(self) -> dict:
        """As plain values."""
        fields = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        return {**fields, "plan": self.plan.to_dict()}

    @staticmethod
    def from_dict(data: dict) -> Recipe:
        """The recipe of which `data` is the `to_dict`."""
        return Recipe(**{**data, "plan": Plan.from_dict(data["plan"])})


RECIPES = {
    one.name: one
    for one in (
        Recipe(
            "mcifarnet-gated",
            "mcifarnet",
            "models-cifar10/mcifarnet.pt",
            Plan(density=0.5),
            epochs=8,
            learning_rate=0.03,
            distillation=0.7,
        ),
        Recipe(
            "resnet20-gated",
            "resnet20",
            "models-cifar10/resnet20-12fca82f.th",
            Plan(density=0.7, placement="branch"),
            distillation=0.7,
        ),
        Recipe("resnet8", "resnet8", epochs=100, learning_rate=0.1, label_smoothing=0.05),
    )
}
"""The recipes by name."""


def recipe(name: str) -> Recipe:
    """The recipe of this name; InvalidInputError with the names there are."""
    if name not in RECIPES:
        raise InvalidInputError(f"recipe: got {name!r}, accepted are {', '.join(RECIPES)}")
    return RECIPES[name]
