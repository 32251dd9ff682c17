"""Recipes: everything that decides what a training gives, as plain values."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from ..core.errors import InvalidInputError
from ..core.formats import parse_format
from ..core.plan import LayerPlan, Plan

PRUNING = 0.5
"""The share of the epochs in which it may change which weights are pruned."""

LISTS = ("teacher", "following", "incremental", "drawn_formats", "drawn_densities")
"""Fields of a recipe that are tuples."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    network: a name in `networks.NETWORKS`, or the text of an architecture (`core.architecture`).
    start: its weights to begin with, a path in the data folder: a state dict, or what another recipe has finished, with
        its gates; for an architecture also a supernet that holds it. None draws them. The network that is started from
        is the teacher too.
    plan: the densities to reach; without any below 1 the network gets no gates. With quantized formats the weights are
        trained under them, batch norms folded.
    narrowed_from: the network, of the same modules with more channels, whose weights `start` holds; those of its
        channels are kept that are worth most (`narrow`). None: `network` itself. With a space: the ResNet that its
        largest network begins as (`supernet_start`).
    teacher: another network and its weights, a path in the data folder; without, the network that is started from
        is the teacher.
    epochs, batch, seed: seed decides the drawn weights, the order of the images and how they are augmented.
    learning_rate: falls to 0 over all epochs as a cosine, after `warm_up` epochs in which it rises.
    momentum (Nesterov's), weight_decay: of tensors of two and more dimensions; vectors do not decay.
    label_smoothing: of the labels' cross-entropy.
    distillation: share of the teacher's divergence in the loss, the rest are the labels; temperature: of both.
    sparsity: the paper's lambda, on the sum of the saliencies.
    follow: how much the gates follow the input when they begin, 0 to 1, see `start.start_gates`; None begins as the
        paper does, with all channels worth the same. following: the layers whose gates follow it fully instead.
    lowering: the share of the epochs in which the density falls from 1 to the plan's, in steps of 0.1.
    pruning: the share of the weights of convolutions and dense layers that are 0 in the end (`pruning`); it rises from
        epoch to epoch, fast first, and after half of them the zeros stay. None keeps all. Not together with quantized
        formats: those keep the zeros that they find.
    incremental: with quantized formats, the shares of each layer's weights that are fixed, one after the other for as
        many epochs each, the others being trained in float32 meanwhile; empty: all weights are quantized at once and
        trained straight through.
    clip: largest norm of a gradient, which is scaled down to it.
    bfloat16: compute products in bfloat16 (weights and gates stay float32); twice as fast where the processor can.
    compiled: train the network as torch.compile makes it, which takes one or two minutes first and then about two
        thirds of the time.
    space: of architectures (`core.architecture`), of which `network` is the largest, for a supernet; None for one
        network. drawn: how many networks of it learn in a step beside the smallest one, with weights in one of
        drawn_formats each, and with gates at one of drawn_densities, if there are any; 1 is without gates.
        largest_every: the largest one learns in the first of so many steps, see `supernet_training`.
    """

    name: str
    network: str
    start: str | None = None
    plan: Plan = Plan()
    narrowed_from: str | None = None
    teacher: tuple[str, ...] = ()
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
    following: tuple[str, ...] = ()
    lowering: float = 0.0
    pruning: float | None = None
    incremental: tuple[float, ...] = ()
    clip: float = 5.0
    bfloat16: bool = False
    compiled: bool = False
    space: str | None = None
    drawn: int = 1
    largest_every: int = 1
    drawn_formats: tuple[str, ...] = ("float32",)
    drawn_densities: tuple[float, ...] = ()

    def __post_init__(self):
        for name in ("epochs", "batch", "largest_every"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name}: got {getattr(self, name)}, accepted are whole numbers from 1")
        if self.space and (self.is_gated or self.is_quantized or self.pruning is not None):
            raise InvalidInputError("space: a supernet's recipe has neither plan nor pruning")
        if self.drawn_densities and not (self.space and all(0 < one <= 1 for one in self.drawn_densities)):
            raise InvalidInputError(
                f"drawn_densities: got {self.drawn_densities}, accepted are numbers in (0, 1], for a supernet"
            )
        if self.largest_every > 1 and not self.distillation:
            raise InvalidInputError(f"largest_every: got {self.largest_every} and no teacher, accepted is to distil")
        if self.narrowed_from and not self.start:
            raise InvalidInputError(f"narrowed_from: got {self.narrowed_from!r} and no start, accepted are both")
        if self.pruning is not None and not 0 < self.pruning < 1:
            raise InvalidInputError(f"pruning: got {self.pruning}, accepted is a share between 0 and 1")
        if self.pruning is not None and self.is_quantized:
            raise InvalidInputError(f"pruning: got {self.pruning} for quantized weights, accepted is to prune first")
        if self.teacher and (len(self.teacher) != 2 or not self.distillation):
            raise InvalidInputError(f"teacher: got {self.teacher}, accepted are a network and its weights, to distil")
        shares = self.incremental
        if shares and not (self.is_quantized and shares[0] > 0 and shares[-1] == 1 and list(shares) == sorted(shares)):
            raise InvalidInputError(
                f"incremental: got {shares}, accepted are rising shares up to 1, for a plan with quantized weights"
            )

    @property
    def is_quantized(self) -> bool:
        """Whether the network gets quantizers."""
        return any(parse_format(one.weights).is_quantized for one in self._layers)

    @property
    def is_gated(self) -> bool:
        """Whether the network gets gates."""
        return self.lowest_density < 1

    @property
    def lowest_density(self) -> float:
        """Of the plan's layers."""
        return min(one.density for one in self._layers)

    @property
    def _layers(self) -> tuple[LayerPlan, ...]:
        return self.plan.default, *map(self.plan.layer, self.plan.layers)

    def fixed_share(self, epoch: int) -> float:
        """How much of the weights is fixed in an epoch (from 0), where the recipe is incremental; all in the last."""
        if epoch == self.epochs - 1:
            return self.incremental[-1]
        return self.incremental[epoch * len(self.incremental) // self.epochs]

    def pruned_share(self, epoch: int) -> float | None:
        """How much of the weights is made 0 before an epoch (from 0); None: those that are 0 stay it."""
        deciding = math.ceil(self.epochs * PRUNING)
        if self.pruning is None or epoch >= deciding:
            return None
        return self.pruning * (1 - (1 - (epoch + 1) / deciding) ** 3)

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
        lists = {name: list(getattr(self, name)) for name in LISTS}
        return {**fields, **lists, "plan": self.plan.to_dict()}

    @staticmethod
    def from_dict(data: dict) -> Recipe:
        """The recipe of which `data` is the `to_dict`."""
        lists = {name: tuple(data[name]) for name in LISTS if name in data}
        return Recipe(**{**data, **lists, "plan": Plan.from_dict(data["plan"])})


INCREMENTS = (0.25, 0.5, 0.75, 0.875, 1.0)
"""Of incremental quantization (Zhou et al., ICLR 2017; Zhao et al., NeurIPS 2019)."""

HALF = {
    **{f"conv{i}": {"density": 0.75} for i in (0, 1, 2, 4)},
    "conv3": {"density": 0.625},
    **{f"conv{i}": {"density": 2 / 3} for i in (5, 6, 7)},
}
"""M-CifarNet at 0.495 of its MACs, in groups of 16 channels: layers of 64 channels have only four such groups."""

RESNET32 = ("resnet32", "models-cifar10/resnet32-d509ac18.th")
"""A teacher: 92.63 % of CIFAR-10's test images."""

SUPERNET = {
    "network": "resnet-cifar-largest",
    "space": "resnet-cifar",
    "distillation": 0.5,
    "learning_rate": 0.05,
    "drawn_formats": ("float32", "uniform<4>"),
    "bfloat16": True,
}
"""What the recipes of one supernet, trained in turn, share."""


def _blocks(inner: tuple[float, ...], outer: tuple[float, ...], last: dict) -> dict:
    """ResNet-20's layers: densities of the first and second convolutions of each stage's three blocks; the last's."""
    stages = [(f"layer{stage}.{block}", block) for stage in (1, 2, 3) for block in range(3)]
    firsts = {f"{name}.conv1": {"density": inner[block]} for name, block in stages}
    seconds = {f"{name}.conv2": {"density": outer[block]} for name, block in stages}
    return firsts | seconds | last


FEWER = {"layer3.2.conv1": {"density": 0.375, "granularity": 8}}
HALF_RESNET20 = {
    "inner": Plan(density=0.5, layers=FEWER),
    "branch": Plan(
        placement="branch",
        layers=_blocks((0.5, 0.75, 0.5), (0.75, 0.5, 1.0), {"layer3.2.conv2": {"density": 0.75}}),
    ),
    "sum": Plan(density=0.75, placement="sum", layers=_blocks((0.75, 0.75, 0.5), (0.75, 0.75, 0.75), FEWER)),
}
"""ResNet-20 at 0.49 of its MACs, by the placement of its gates, in the default granularity."""

MIXED_RESNET8 = Plan(weights="uniform<8>", layers={f"block{block}.conv2": {"weights": "shift<4>"} for block in (2, 3)})
"""Two fifths of ResNet-8's products need no multiplier: what the DSP blocks of an XC7Z020 lack at 20,000 cycles."""

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
            "mcifarnet-gated-half",
            "mcifarnet",
            "models-cifar10/mcifarnet.pt",
            Plan(layers=HALF),
            epochs=8,
            learning_rate=0.03,
            distillation=0.7,
            following=("conv6", "conv7"),
        ),
        *(
            Recipe(
                f"mcifarnet-w{percent}",
                f"mcifarnet-w{percent}",
                "models-cifar10/mcifarnet.pt",
                narrowed_from="mcifarnet",
                epochs=8,
                learning_rate=0.03,
                distillation=0.7,
            )
            for percent in (75, 62, 50)
        ),
        *(
            Recipe(
                f"resnet20-{placement}",
                "resnet20",
                "models-cifar10/resnet20-12fca82f.th",
                plan,
                epochs=30,
                learning_rate=0.03,
                weight_decay=1e-4,
                distillation=0.7,
            )
            for placement, plan in HALF_RESNET20.items()
        ),
        Recipe("resnet8", "resnet8", epochs=100, learning_rate=0.1, label_smoothing=0.05),
        Recipe(
            "resnet8-taught",
            "resnet8",
            teacher=("resnet20", "models-cifar10/resnet20-12fca82f.th"),
            epochs=30,
            learning_rate=0.1,
            weight_decay=2e-4,
            distillation=0.7,
        ),
        Recipe(
            "mcifarnet-taught",
            "mcifarnet",
            "models-cifar10/mcifarnet.pt",
            teacher=("resnet56", "models-cifar10/resnet56-4bfd9763.th"),
            epochs=10,
            distillation=0.9,
        ),
        Recipe(
            "mcifarnet-pruned",
            "mcifarnet",
            "mcifarnet-taught/weights.pt",
            epochs=12,
            learning_rate=0.02,
            weight_decay=1e-4,
            distillation=0.7,
            pruning=0.865,
        ),
        Recipe(
            "mcifarnet-quantized",
            "mcifarnet",
            "mcifarnet-pruned/weights.pt",
            Plan(weights="codebook<3>"),
            teacher=("mcifarnet", "mcifarnet-taught/weights.pt"),
            epochs=6,
            learning_rate=0.01,
            weight_decay=1e-4,
            distillation=0.7,
        ),
        Recipe(
            "resnet20-focused",
            "resnet20",
            "models-cifar10/resnet20-12fca82f.th",
            Plan(weights="focused<5>"),
            epochs=3,
            learning_rate=0.005,
            weight_decay=1e-4,
            distillation=0.7,
        ),
        Recipe(
            "resnet20-quantized",
            "resnet20",
            "resnet20-branch/weights.pt",
            dataclasses.replace(HALF_RESNET20["branch"], weights="focused<5>"),
            epochs=2,
            learning_rate=0.005,
            weight_decay=1e-4,
            distillation=0.7,
        ),
        *(
            Recipe(
                f"resnet8-{name}",
                "resnet8",
                "resnet8-taught/weights.pt",
                plan,
                epochs=3,
                learning_rate=0.005,
                weight_decay=1e-4,
                distillation=0.5,
            )
            for name, plan in (
                ("int8", Plan(weights="uniform<8>")),
                ("mixed", MIXED_RESNET8),
                ("gated", Plan(density=0.75, weights="uniform<8>")),
            )
        ),
        Recipe(
            "supernet-resnet-cifar-begun",
            start=RESNET32[1],
            narrowed_from=RESNET32[0],
            epochs=10,
            **SUPERNET,
        ),
        Recipe(
            "supernet-resnet-cifar",
            start="supernet-resnet-cifar-begun/weights.pt",
            epochs=5,
            drawn=2,
            largest_every=4,
            **SUPERNET,
        ),
        Recipe(
            "supernet-mobilenet-cifar",
            teacher=RESNET32,
            epochs=40,
            drawn=2,
            **{**SUPERNET, "network": "mobilenet-cifar-largest", "space": "mobilenet-cifar"},
        ),
        Recipe(
            "supernet-resnet-cifar-longer",
            start="supernet-resnet-cifar/weights.pt",
            teacher=RESNET32,
            epochs=8,
            drawn=3,
            largest_every=8,
            **SUPERNET,
        ),
        Recipe(
            "supernet-resnet-cifar-gated",
            start="supernet-resnet-cifar/weights.pt",
            epochs=3,
            drawn=3,
            largest_every=4,
            drawn_densities=(0.5, 0.75, 1.0),
            **{**SUPERNET, "learning_rate": 0.02},
        ),
    )
}
"""The recipes by name."""


def recipe(name: str) -> Recipe:
    """The recipe of this name; InvalidInputError with the names there are."""
    if name not in RECIPES:
        raise InvalidInputError(f"recipe: got {name!r}, accepted are {', '.join(RECIPES)}")
    return RECIPES[name]
