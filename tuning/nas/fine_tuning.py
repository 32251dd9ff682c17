"""Training the networks of a front further, from what they inherit of the supernet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from espalier.core.architecture import Architecture
from espalier.core.errors import InvalidInputError
from espalier.core.files import claimed
from espalier.core.formats import parse_format
from espalier.core.plan import Plan

from .joint_space import is_plain
from .supernet_networks import VALIDATION, Split

FITTED_BITS = 8
"""Weights in formats of fewer bits are also trained in them, for a share QUANTIZED of the epochs, one at least; and so
are gates, and activations of few bits."""

QUANTIZED = 0.25
SETTINGS = {"distillation": 0.7, "weight_decay": 1e-4}
ANSWERS, CLAIM = "answers", "training"
LEARNING_RATE, QUANTIZED_LEARNING_RATE = 0.05, 0.005


@dataclass(frozen=True)
class FineTuning:
    """How, and where it is kept.

    epochs: of each network, from 1; products are in bfloat16 where the supernet's were. data: CIFAR-10. supernet: its
        weights. folder: of the teacher's answers, which all networks share, and, for each teacher and number of
        epochs, of a checkpoint for each network, from which its training goes on.
    teacher: a network's name and its weights, None for the supernet's largest network.

    Raises InvalidInputError for other epochs, data or weights, before anything is trained.
    """

    epochs: int
    data: Path
    supernet: Path
    folder: Path
    teacher: tuple[str, Path] | None = None

    def __post_init__(self):
        if self.epochs < 1:
            raise InvalidInputError(f"fine-tuning: got {self.epochs} epochs, accepted are whole numbers from 1")
        from espalier.training.finished import teaching_network

        teaching_network(self._recipe("resnet8", self.supernet), self.folder, None)
        self._images  # noqa: B018 (read now, so that what is missing is told before the search)

    @staticmethod
    def parse_teacher(text: str) -> tuple[str, Path]:
        """Of "NETWORK=FILE"; InvalidInputError for anything else."""
        name, _, path = text.partition("=")
        if not (name and path):
            raise InvalidInputError(f"teacher: got {text!r}, accepted is such as resnet56=resnet56.th")
        return name.strip(), Path(path)

    @property
    def words(self) -> str:
        """What was done, for a value's `how`."""
        by = self.teacher[0] if self.teacher else "the supernet's largest network"
        return f"{self.epochs} epochs of fine-tuning, taught by {by}"

    @property
    def place(self) -> Path:
        """Of the networks that are trained so long by this teacher: a folder for each."""
        return self.folder / f"{self.epochs} epochs by {self.teacher[0] if self.teacher else 'the supernet'}"

    def trained(self, architecture: Architecture, plan: Plan, tell: Callable[[str], None]):
        """(network, has_plan): in inference mode; with the plan's gates and number formats where these were trained.

        tell: is told where a training is. Waits while another process trains the same architecture.
        Raises TrainingStoppedError where the loss is no longer finite.
        """
        with self._claimed(architecture) as is_mine:
            if is_mine:
                return self._trained(architecture, plan, tell)
        tell(f"{architecture}: another process trains it")
        with self._claimed(architecture, waits=True):
            return self._trained(architecture, plan, tell)

    def trained_unless_another_does(self, architecture: Architecture, plan: Plan, tell: Callable[[str], None]):
        """What `trained` gives; None where another process is at it: several share the networks of a front so."""
        with self._claimed(architecture) as is_mine:
            return self._trained(architecture, plan, tell) if is_mine else None

    def _claimed(self, architecture: Architecture, waits: bool = False):
        return claimed(self.place / str(architecture) / CLAIM, waits)

    def _trained(self, architecture: Architecture, plan: Plan, tell: Callable[[str], None]):
        first = self._recipe(str(architecture), self.supernet)
        network, weights = self._train(first, tell)
        plan = _with_gates_that_there_are(network, plan)
        layers = [plan.layer(name) for name in plan.layers]
        if all(
            is_plain(one.density, one.activations) and parse_format(one.weights).bits >= FITTED_BITS for one in layers
        ):
            return network, False
        return self._train(self._recipe(str(architecture), weights, plan), tell)[0], True

    def accuracy(self, architecture: Architecture, plan: Plan, tell: Callable[[str], None]) -> float:
        """0 to 1, of the network that `trained` gives, under the plan, on all images that a search may look at."""
        from espalier.training.data import Images
        from espalier.training.loop import RANGE_SAMPLES, top1_percent
        from espalier.training.quantizers import insert_quantizers

        network, is_quantized = self.trained(architecture, plan, tell)
        train, _ = self._images
        device = train.images.device
        if not is_quantized and any(parse_format(plan.layer(name).weights).is_quantized for name in plan.layers):
            network = insert_quantizers(network, plan, next(train.plain_batches(RANGE_SAMPLES))[0].cpu())
        return top1_percent(network.to(device), Images(*Split.of(self.data).search, device)) / 100

    def _recipe(self, network: str, start: Path, plan: Plan | None = None):
        from espalier.training.finished import recipe_of
        from espalier.training.recipe import Recipe

        supernet = recipe_of(self.supernet)
        teacher, path = self.teacher or (supernet.network, self.supernet)
        epochs = self.epochs if plan is None else max(1, round(self.epochs * QUANTIZED))
        rate = LEARNING_RATE if plan is None else QUANTIZED_LEARNING_RATE
        name = network if plan is None else f"{network} {_digest(plan)}"
        teaches = (teacher, str(path.absolute()))
        settings = {"plan": plan or Plan(), "teacher": teaches, "epochs": epochs, "learning_rate": rate, **SETTINGS}
        return Recipe(name, network, str(start.absolute()), bfloat16=supernet.bfloat16, **settings)

    def _train(self, recipe, tell: Callable[[str], None]):
        from espalier.training.finished import load_finished
        from espalier.training.loop import WEIGHTS
        from espalier.training.shared_answers import SharedAnswers

        output = self.place / recipe.name
        training = SharedAnswers(recipe, *self._images, self.folder, output, self.folder / ANSWERS)
        for _ in training.run(lambda at: tell(f"{recipe.name}: epoch {at.epoch} of {at.epochs}")):
            pass
        return load_finished(output / WEIGHTS), output / WEIGHTS

    @cached_property
    def _images(self):
        """To train on, and to tell each epoch's accuracy by: some of the images that the search looks at."""
        from espalier.training import cifar10
        from espalier.training.data import Images, default_device

        device = default_device()
        search = (one[:VALIDATION] for one in Split.of(self.data).search)
        return Images(*cifar10.load_train(self.data), device), Images(*search, device)


def _with_gates_that_there_are(network, plan: Plan) -> Plan:
    """The plan, without its densities where the compiler would gate no layer of the network."""
    from espalier.training.finished import EXAMPLE
    from espalier.training.sites import find_sites

    if all(plan.layer(name).density == 1 for name in plan.layers) or find_sites(network, plan, EXAMPLE).sites:
        return plan
    return Plan(layers={name: {**one, "density": 1.0} for name, one in plan.layers.items()})


def _digest(plan: Plan) -> str:
    """Of its text, for the name of a folder."""
    return hashlib.sha256(json.dumps(plan.to_dict(), sort_keys=True).encode()).hexdigest()[:12]
