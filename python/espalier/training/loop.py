"""The training loop: an epoch at a time, each ending in a checkpoint from which the rest is the same bit for bit.

Whatever is drawn in an epoch is drawn from a generator that the recipe's seed and the epoch determine, so a checkpoint
holds the parameters, the optimizer and the number of epochs that are done, and needs no state of a random generator.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from ..core.calibration import Range
from ..core.errors import InvalidInputError, TrainingStoppedError
from .checkpoint import load_checkpoint, save_checkpoint, save_weights, with_state
from .data import Images, batches_of
from .finished import EXAMPLE, drawn_network, file_digests, starting_network, teaching_network, with_gates
from .gates import mean_saliency, set_density
from .integer_eval import IntegerNetwork
from .narrow import narrow
from .pruning import insert_masks, update_masks
from .quantizers import insert_quantizers, settle, unfitted
from .recipe import Recipe
from .sites import find_sites
from .start import start_gates
from .stored import stored_state
from .tracing import RANGES
from .weight_quantizer import weight_quantizers

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.pt"
TEST_BATCH = 100
RANGE_SAMPLES = 256
"""Images over which the ranges of activations are observed before a quantized training."""


@dataclass(frozen=True)
class Epoch:
    """What an epoch gave. loss: mean over its batches; top1_percent: on the test images, at this density."""

    number: int
    density: float
    loss: float
    top1_percent: float
    seconds: float


@dataclass(frozen=True)
class Progress:
    """Where a training is. epoch, batch: from 1; left_s: expected until the last epoch's end."""

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float
    left_s: float


class Training:
    """A recipe at work.

    start: where the recipe's starting weights are: a folder, or the file. output: the folder of the checkpoint and the
        weights.
    Continues from the checkpoint in `output` if there is one.

    Raises InvalidInputError for weights or a checkpoint that do not fit the recipe.
    """

    def __init__(self, recipe: Recipe, train: Images, test: Images, start, output):
        self.recipe, self.train, self.test, self.output = recipe, train, test, Path(output)
        self.device = train.images.device
        path = self.output / CHECKPOINT
        state = load_checkpoint(path) if path.exists() else None
        network = starting_network(recipe, Path(start))
        self.teacher = teaching_network(recipe, Path(start), network)
        self.files = file_digests(recipe, Path(start))
        self.model = self._model(network, state)
        for one in filter(None, (self.model, self.teacher)):
            one.to(self.device, memory_format=torch.channels_last)
        faster = torch.compile if recipe.compiled else lambda network: network
        self.trained, self.taught = faster(self.model), self.teacher and faster(self.teacher)
        self.optimizer = _optimizer(self.model, recipe)
        self.done: list[Epoch] = []
        if state is not None:
            self._resume(state, path)

    def run(self, on_batch: Callable[[Progress], None] | None = None) -> Iterator[Epoch]:
        """Train what is left, yielding each epoch after its checkpoint is written; then write the weights.

        Where nothing is left, weights that are there stay as they are: another training may have begun with them.
        Raises TrainingStoppedError when the loss is no longer finite; the last checkpoint stays.
        """
        if len(self.done) == self.recipe.epochs and (self.output / WEIGHTS).exists():
            return
        for number in range(len(self.done), self.recipe.epochs):
            start = time.perf_counter()
            loss = self._epoch(number, on_batch or (lambda _: None))
            top1 = top1_percent(self.model, self.test)
            density = self.recipe.density(number) if self.recipe.is_gated else 1.0
            self.done.append(Epoch(number + 1, density, loss, top1, time.perf_counter() - start))
            self._save()
            yield self.done[-1]
        facts = {"recipe": self.recipe.to_dict(), "epochs": self._history(), "ranges": self._ranges()}
        save_weights(self.output / WEIGHTS, stored_state(self.model), facts)

    def _model(self, network: nn.Module, state: dict | None) -> nn.Module:
        """The network with what the recipe gives it; with a checkpoint's state to come, nothing is fitted."""
        recipe = self.recipe
        if recipe.narrowed_from:
            plain = drawn_network(recipe)
            network = narrow(network, plain, self.train, EXAMPLE) if state is None else plain
        gated = with_gates(network, recipe)
        if gated is not network and recipe.follow is not None and state is None:
            found = find_sites(network, recipe.plan, EXAMPLE)
            start_gates(gated, found, self.train, recipe.follow, recipe.following)
        if recipe.pruning is not None:
            insert_masks(gated)
        if not recipe.is_quantized:
            return gated
        if recipe.is_gated:
            set_density(gated, recipe.density(0))
        inputs, is_incremental = next(self.train.plain_batches(RANGE_SAMPLES))[0], bool(recipe.incremental)
        if state is None:
            return insert_quantizers(gated, recipe.plan, inputs, is_incremental=is_incremental)
        ranges = {name: Range(*ends) for name, ends in state["ranges"].items()}
        return unfitted(gated, recipe.plan, inputs, ranges, is_incremental)

    def _begin(self, number: int) -> None:
        """What changes at the beginning of an epoch (from 0)."""
        recipe = self.recipe
        if recipe.is_gated:
            set_density(self.model, recipe.density(number))
        if (share := recipe.pruned_share(number)) is not None:
            update_masks(self.model, share)
        if recipe.incremental:
            settle(self.model, recipe.fixed_share(number))
        self.model.train()

    def _epoch(self, number: int, on_batch: Callable[[Progress], None]) -> float:
        recipe = self.recipe
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + number)
        torch.manual_seed(generator.initial_seed())  # what the network itself draws, such as dropout
        self._begin(number)
        batches, total, start = batches_of(len(self.train), recipe.batch), 0.0, time.perf_counter()
        for index, (images, labels) in enumerate(self.train.batches(recipe.batch, generator)):
            factor = recipe.learning_rate_factor(number * batches + index, batches)
            loss = self._step(images, labels, recipe.learning_rate * factor)
            if not math.isfinite(loss):
                raise TrainingStoppedError(
                    f"training stopped: the loss is {loss} in epoch {number + 1}, batch {index + 1}; "
                    f"the last good state is {self._last_good()}; a lower learning rate may help"
                )
            total += loss
            each = (time.perf_counter() - start) / (index + 1)
            left = each * ((recipe.epochs - number) * batches - index - 1)
            on_batch(Progress(number + 1, recipe.epochs, index + 1, batches, loss, left))
        return total / batches

    def _step(self, images: torch.Tensor, labels: torch.Tensor, learning_rate: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(images, labels)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        return loss

    def _backward(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        """Add the gradients of a batch to the parameters' and return its loss."""
        with self._products():
            loss = self._loss(self.trained(images).float(), self._taught(images), labels)
        loss.backward()
        return loss.item()

    @torch.no_grad()
    def _taught(self, images: torch.Tensor) -> torch.Tensor | None:
        """What the teacher answers, if there is one."""
        if self.taught is None:
            return None
        with self._products():
            return self.taught(images).float()

    def _loss(self, logits: torch.Tensor, taught: torch.Tensor | None, labels: torch.Tensor) -> torch.Tensor:
        recipe = self.recipe
        loss = functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if taught is not None:
            loss = (1 - recipe.distillation) * loss + recipe.distillation * _divergence(
                logits, taught, recipe.temperature
            )
        return loss + recipe.sparsity * mean_saliency(self.model) if recipe.is_gated else loss

    def _products(self):
        if not self.recipe.bfloat16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _resume(self, state: dict, path: Path) -> None:
        with_state(self.model, state["model"], path)
        self._check_same(state, path)
        self.optimizer.load_state_dict(state["optimizer"])
        self.done = [Epoch(**one) for one in state["epochs"]]
        if self.recipe.is_gated and self.done:
            set_density(self.model, self.done[-1].density)

    def _check_same(self, state: dict, path: Path) -> None:
        """The recipe; of the files that it names, what is in them and not where they are."""
        files = state.get("files", {})  # not in those of earlier versions, as newer settings are not
        recipe = {**Recipe("", "").to_dict(), **state["recipe"]}
        for name, value in self.recipe.to_dict().items():
            got, now = (of.get(name) for of in (files, self.files))
            if got is None or now is None:
                got, now = recipe[name], value
            elif got != now:
                got, now = f"{recipe[name]} (sha256 {got[:12]})", f"{value} (sha256 {now[:12]})"
            if got != now:
                raise InvalidInputError(
                    f"checkpoint {path}: of a training with {name} {got}, now {now}; "
                    "give the same settings or another output folder"
                )

    def _save(self) -> None:
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        state.update(recipe=self.recipe.to_dict(), epochs=self._history(), ranges=self._ranges(), files=self.files)
        save_checkpoint(self.output / CHECKPOINT, state)

    def _history(self) -> list[dict]:
        return [vars(epoch) for epoch in self.done]

    def _ranges(self) -> dict[str, list[float]]:
        """Of the activations of a quantized network, by the compiler's names."""
        ranges = self.model.meta.get(RANGES, {}) if self.recipe.is_quantized else {}
        return {name: [one.low, one.high] for name, one in ranges.items()}

    def _last_good(self) -> str:
        path = self.output / CHECKPOINT
        return f"{path}, after epoch {len(self.done)}" if self.done else "the one it started from"


@torch.no_grad()
def top1_percent(model: nn.Module, images: Images) -> float:
    """Share of images that the model, put into inference mode, gives the highest score at their label.

    In float32; a network with quantizers by its integer program.
    """
    model.eval()
    example = next(images.plain_batches(1))[0]
    network = IntegerNetwork.of(model, example.cpu()) if weight_quantizers(model) else model
    right = sum(int((network(x).argmax(1) == y).sum()) for x, y in images.plain_batches(TEST_BATCH))
    return 100 * right / len(images)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    parameters = list(model.parameters())
    groups = [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, recipe.learning_rate, recipe.momentum, nesterov=recipe.momentum > 0)


def _divergence(logits: torch.Tensor, taught: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL divergence from the teacher's softened distribution, scaled so that gradients keep their size (Hinton)."""
    student, teacher = (functional.log_softmax(one / temperature, 1) for one in (logits, taught))
    return functional.kl_div(student, teacher, log_target=True, reduction="batchmean") * temperature**2
