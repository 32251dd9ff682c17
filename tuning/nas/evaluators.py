"""What a candidate is worth: one interface, an evaluator for each way to find out. Each value says how it was found."""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from espalier.build import build, planned
from espalier.codegen.fpga_hls.folding import fold
from espalier.codegen.fpga_hls.from_relax import streamed
from espalier.codegen.fpga_hls.timing import latency_cycles
from espalier.core.formats import parse_format
from espalier.core.plan import Plan
from espalier.frontend import bundled
from espalier.measure.threads import set_threads
from espalier.passes.quantize.fitting.fit import fit
from espalier.targets.fpga import board_of, frames_per_s
from espalier.targets.resolve import resolve_target

from ..latency_predictor import LEAST_NETWORKS, LatencyPredictor, NetworkSample
from ..network_work import network_work
from ..placeholder import placeholder_calibration
from .accuracy_model import AccuracyModel
from .joint_space import Candidate
from .latency_samples import LatencySamples
from .problem import Value
from .supernet_networks import VALIDATION, SupernetNetworks
from .tuned_networks import TunedNetworks

RESOURCES = ("luts", "dsps", "bram_36k")


class Evaluator(ABC):
    """names: of the values that it finds."""

    names: tuple[str, ...]

    @abstractmethod
    def evaluate(self, candidate: Candidate) -> dict[str, Value]:
        """The values; EspalierError for a candidate that cannot be built."""


class SupernetAccuracy(Evaluator):
    """With the supernet's weights, in the levels that the compiler gives them, and statistics of its own, untrained.

    Activations are not rounded: what that changes is seen when the front is built.
    """

    names = ("accuracy",)

    def __init__(self, networks: SupernetNetworks):
        self.networks = networks

    def evaluate(self, candidate: Candidate) -> dict[str, Value]:
        from espalier.training.data import Images
        from espalier.training.loop import top1_percent

        network = in_levels(self.networks.network(candidate.architecture), candidate.plan)
        search = (one[:VALIDATION] for one in self.networks.split.search)
        images = Images(*search, self.networks.calibration_images.images.device)
        how = f"supernet, {len(images)} {self.networks.split.origin}, not trained further"
        return {"accuracy": Value(top1_percent(network, images) / 100, how)}


def in_levels(network, plan: Plan):
    """A copy of a torch network whose weights have the values that the compiler gives them under a plan."""
    import torch

    network = copy.deepcopy(network)
    for name in plan.layers:
        fmt, weight = parse_format(plan.layer(name).weights), network.get_submodule(name).weight.data
        if fmt.is_quantized:
            weight.copy_(torch.from_numpy(fit(weight.cpu().numpy(), fmt).dequantized()))
    return network


class FittedAccuracy(Evaluator):
    """What fine-tuning makes of a network, learned from networks that were fine-tuned.

    Raises InvalidInputError for a table of too few.
    """

    names = ("accuracy",)

    def __init__(self, networks: SupernetNetworks, tuned: TunedNetworks):
        self.supernet, self.model, self.tuned = SupernetAccuracy(networks), AccuracyModel(), tuned
        self.model.fit(tuned.networks)

    def evaluate(self, candidate: Candidate) -> dict[str, Value]:
        before = self.supernet.evaluate(candidate)["accuracy"].number
        found = self.model.predict(candidate.architecture, candidate.stage_weights, before)
        how = (
            f"by a Gaussian process over {self.tuned.count} fine-tuned networks, deviation {100 * found.deviation:.1f} "
            f"points; for {self.tuned.training}"
        )
        return {"accuracy": Value(found.accuracy, how)}


class WeightSize(Evaluator):
    """Bits of weights as their formats count them, biases in 32."""

    names = ("size",)

    def __init__(self, networks: SupernetNetworks):
        self.networks = networks

    def evaluate(self, candidate: Candidate) -> dict[str, Value]:
        network, bits = self.networks.network(candidate.architecture), 0
        for name, settings in candidate.plan.layers.items():
            weight = network.get_submodule(name).weight
            bits += weight.numel() * parse_format(settings["weights"]).bits + 32 * len(weight)
        return {"size": Value(bits / 8, "counted")}


class FpgaModel(Evaluator):
    """Cycles between images, exact for the emitted design, and its resources by the models of synthesized stages."""

    names = ("cycles", "latency", "luts", "dsps", "bram_36k")

    def __init__(self, networks: SupernetNetworks):
        self.networks = networks

    def evaluate(self, candidate: Candidate) -> dict[str, Value]:
        mod, plan = self.networks.module(candidate.architecture), candidate.plan
        target = resolve_target(candidate.target)
        cut = streamed(planned(mod, plan, placeholder_calibration(mod, plan)))
        design = fold(cut.network, board_of(target), frames_per_s(target))
        how, clock_hz = "model of the emitted design, exact in simulation", board_of(target).clock_hz
        return {
            "cycles": Value(float(design.interval_cycles), how),
            "latency": Value(latency_cycles(design.graph) / clock_hz, f"{how}, at {clock_hz / 1e6:g} MHz"),
            **{name: Value(getattr(design.resources, name), "model, before synthesis") for name in RESOURCES},
        }


class MeasuredLatency(Evaluator):
    """Compiled and run on this machine, one image at a time, on one thread."""

    names = ("latency",)

    def __init__(self, networks: SupernetNetworks, blocks: int = 6):
        self.networks, self.blocks = networks, blocks
        self.image = bundled.normalise(networks.split.calibration[:1])

    def evaluate(self, candidate: Candidate) -> dict[str, Value]:
        return {"latency": self.value(self.sample(candidate))}

    def value(self, sample: NetworkSample) -> Value:
        """Of a measured network."""
        return Value(sample.seconds, f"measured, lower quartile of {self.blocks} blocks of runs, 1 thread")

    def sample(self, candidate: Candidate) -> NetworkSample:
        """With the times of its kernels."""
        mod, plan = self.networks.module(candidate.architecture), candidate.plan
        calibration = placeholder_calibration(mod, plan)
        artifact = build(mod, candidate.target, plan, calibration)
        work = network_work(mod, candidate.target, plan, calibration)
        set_threads(1)
        return NetworkSample.measured(work, artifact, self.image, blocks=self.blocks)


class PredictedLatency(Evaluator):
    """By the tuner's network predictor, which learns from the first networks: these are compiled and measured.

    folder: where these are kept, so that a search that goes on, and other workers, need not measure as many again.
    Raises InvalidInputError for files there that are none.
    """

    names = ("latency",)

    def __init__(self, networks: SupernetNetworks, folder: Path | None = None):
        self.networks, self.measured, self.samples = networks, MeasuredLatency(networks), LatencySamples(folder)
        self.predictor: LatencyPredictor | None = None
        self.learned_from = len(self.samples.all())

    def evaluate(self, candidate: Candidate) -> dict[str, Value]:
        if self.predictor is None and not self._learn():
            sample = self.measured.sample(candidate)
            self.samples.add(sample)
            return {"latency": self.measured.value(sample)}
        mod, plan = self.networks.module(candidate.architecture), candidate.plan
        work = network_work(mod, candidate.target, plan, placeholder_calibration(mod, plan))
        found = self.predictor.predict(work)
        how = f"predicted from {self.learned_from} measured networks, {100 * np.expm1(found.deviation):.0f} % deviation"
        return {"latency": Value(found.seconds, how)}

    def _learn(self) -> bool:
        """Whether enough networks are measured."""
        samples = self.samples.all()
        self.learned_from = len(samples)
        if self.learned_from < LEAST_NETWORKS:
            return False
        self.predictor = LatencyPredictor()
        self.predictor.fit(samples)
        return True


@dataclasses.dataclass(frozen=True)
class AllOf(Evaluator):
    """Several evaluators' values together."""

    parts: tuple[Evaluator, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for part in self.parts for name in part.names)

    def evaluate(self, candidate: Candidate) -> Mapping[str, Value]:
        found: dict[str, Value] = {}
        for part in self.parts:
            found |= part.evaluate(candidate)
        return found
