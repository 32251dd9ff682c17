"""What a candidate is worth: one interface, an evaluator for each way to find out. Each value says how it was found."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from espalier.build import build, lowered, planned
from espalier.codegen.cuda.generate import lowered_on
from espalier.codegen.fpga_hls.folding import fold
from espalier.codegen.fpga_hls.from_relax import streamed
from espalier.codegen.fpga_hls.timing import latency_cycles
from espalier.core.formats import parse_format
from espalier.core.plan import Plan
from espalier.frontend import bundled
from espalier.measure.fpga.power import power
from espalier.measure.threads import set_threads
from espalier.passes.analysis.layer_table import layer_table
from espalier.passes.quantize.fitting.fit import fit
from espalier.targets.fpga import board_of, frames_per_s
from espalier.targets.fpga_energy import TYPICAL_TOGGLES
from espalier.targets.gpu import gpu_of
from espalier.targets.operation_energy import MEMORY_J_PER_BYTE, SOURCE, mac_energy_j
from espalier.targets.resolve import resolve_target

from ..latency_predictor import LEAST_NETWORKS, LatencyPredictor, NetworkSample
from ..network_work import network_work
from ..placeholder import placeholder_calibration
from .accuracy_model import AccuracyModel
from .joint_space import CPU, Candidate, on_cpu
from .latency_samples import LatencySamples
from .problem import Value
from .supernet_networks import VALIDATION, SupernetNetworks, top1
from .tuned_networks import TunedNetworks

RESOURCES = ("luts", "dsps", "bram_36k")


class Evaluator(ABC):
    """names: of the values that it finds. is_clocked: whether it runs networks against this machine's clock."""

    names: tuple[str, ...]
    is_clocked = False

    @abstractmethod
    def evaluate(self, candidate: Candidate) -> dict[str, Value]:
        """The values; EspalierError for a candidate that cannot be built."""


class SupernetAccuracy(Evaluator):
    """With the supernet's weights, in the levels that the compiler gives them, and statistics of its own, untrained.

    Activations of eight and more bits are not rounded: what that changes is seen when the front is built. Where there
    are gates, or activations of fewer bits, the compiled program is what is judged. A network is judged once, for
    whatever a board is folded for.
    """

    names = ("accuracy",)

    def __init__(self, networks: SupernetNetworks):
        self.networks = networks
        self.known: dict[tuple, float] = {}

    def evaluate(self, candidate: Candidate) -> dict[str, Value]:
        images, labels = (one[:VALIDATION] for one in self.networks.split.search)
        how = f"{len(images)} {self.networks.split.origin}, not trained further"
        if candidate.has_plain_activations:
            plan = candidate.plan
            asked = candidate.architecture, *((name, plan.layer(name).weights) for name in plan.layers)
            if asked not in self.known:
                self.known[asked] = self._in_torch(candidate, images, labels)
            return {"accuracy": Value(self.known[asked], f"supernet, {how}")}
        plan = on_cpu(candidate.plan)
        mod, calibration = self.networks.calibrated(candidate.architecture, plan)
        found = top1(build(mod, CPU, plan, calibration), images, labels)
        return {"accuracy": Value(found, f"supernet, compiled, {how}")}

    def _in_torch(self, candidate: Candidate, images: np.ndarray, labels: np.ndarray) -> float:
        """0 to 1."""
        from espalier.training.data import Images
        from espalier.training.loop import top1_percent

        network = in_levels(self.networks.network(candidate.architecture), candidate.plan)
        device = self.networks.calibration_images.images.device
        return top1_percent(network, Images(images, labels, device)) / 100


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
    """Cycles between images, exact for the emitted design, its resources by the models of synthesized stages, and from
    these the energy that its fabric takes for an image."""

    names = ("cycles", "latency", "throughput", "energy", *RESOURCES)

    def __init__(self, networks: SupernetNetworks):
        self.networks = networks

    def evaluate(self, candidate: Candidate) -> dict[str, Value]:
        mod, plan = self.networks.module(candidate.architecture), candidate.plan
        target = resolve_target(candidate.target)
        cut = streamed(planned(mod, plan, placeholder_calibration(mod, plan)))
        design = fold(cut.network, board_of(target), frames_per_s(target))
        how, clock_hz = "model of the emitted design, exact in simulation", board_of(target).clock_hz
        at_clock, seconds = f"{how}, at {clock_hz / 1e6:g} MHz", design.interval_cycles / clock_hz
        drawn = power(board_of(target), design.resources, TYPICAL_TOGGLES)
        return {
            "cycles": Value(float(design.interval_cycles), how),
            "latency": Value(latency_cycles(design.graph) / clock_hz, at_clock),
            "throughput": Value(1 / seconds, at_clock),
            "energy": Value(
                seconds * drawn.total_w, "estimate: dynamic power of the design's resources, as they toggle"
            ),
            **{name: Value(getattr(design.resources, name), "model, before synthesis") for name in RESOURCES},
        }


class GpuModel(Evaluator):
    """A batch's kernels by the analytic rule that chooses them, without launching them and TVM's own small kernels."""

    names = ("latency", "throughput")

    def __init__(self, networks: SupernetNetworks):
        self.networks = networks

    def evaluate(self, candidate: Candidate) -> dict[str, Value]:
        mod, plan = self.networks.module(candidate.architecture, candidate.batch), candidate.plan
        ready = lowered(mod, plan, placeholder_calibration(mod, plan))
        gpu = gpu_of(resolve_target(candidate.target))
        _, emitted = lowered_on(ready, gpu)
        seconds = sum(one.predicted_s for one in emitted.launches)
        how = f"predicted by the analytic rule of the kernels for {gpu.device}, batches of {candidate.batch}"
        return {"latency": Value(seconds, how), "throughput": Value(candidate.batch / seconds, how)}


class OperationEnergy(Evaluator):
    """Published energies of arithmetic and caches, times what a network computes and reads for an image."""

    names = ("energy",)

    def __init__(self, networks: SupernetNetworks):
        self.networks = networks

    def evaluate(self, candidate: Candidate) -> dict[str, Value]:
        mod, plan = self.networks.module(candidate.architecture), candidate.plan
        network, joules = self.networks.network(candidate.architecture), 0.0
        for one in layer_table(planned(mod, plan, placeholder_calibration(mod, plan))):
            fmt = parse_format(one.weights)
            weights = network.get_submodule(one.name).weight.numel()
            joules += one.macs * mac_energy_j(one.weights, fmt.is_quantized)
            joules += weights * fmt.bits / 8 * MEMORY_J_PER_BYTE
        return {"energy": Value(joules, f"estimate: {SOURCE}, weights read once")}


class MeasuredLatency(Evaluator):
    """Compiled and run on this machine, one image at a time, on as many threads as the candidate asks for."""

    names = ("latency", "throughput")
    is_clocked = True

    def __init__(self, networks: SupernetNetworks, blocks: int = 6):
        self.networks, self.blocks = networks, blocks
        self.image = bundled.normalise(networks.split.calibration[:1])

    def evaluate(self, candidate: Candidate) -> dict[str, Value]:
        return self.values(self.sample(candidate), candidate.threads)

    def values(self, sample: NetworkSample, threads: int) -> dict[str, Value]:
        """Of a measured network."""
        return _times(sample.seconds, f"measured, lower quartile of {self.blocks} blocks of runs, {in_words(threads)}")

    def sample(self, candidate: Candidate) -> NetworkSample:
        """With the times of its kernels."""
        mod, plan = self.networks.module(candidate.architecture), candidate.plan
        calibration = placeholder_calibration(mod, plan)
        artifact = build(mod, candidate.target, plan, calibration)
        work = network_work(mod, candidate.target, plan, calibration)
        set_threads(candidate.threads)
        return NetworkSample.measured(work, artifact, self.image, blocks=self.blocks)


def in_words(threads: int) -> str:
    """For a value's `how`."""
    return "1 thread" if threads == 1 else f"{threads} threads"


def _times(seconds: float, how: str) -> dict[str, Value]:
    """Of a network that computes one image at a time."""
    return {"latency": Value(seconds, how), "throughput": Value(1 / seconds, how)}


class PredictedLatency(Evaluator):
    """By the tuner's network predictor, which learns from the first networks: these are compiled and measured.

    There is a predictor for each number of threads. folder: where measured networks are kept, so that a search that
    goes on, and other workers, need not measure as many again.
    Raises InvalidInputError for files there that are none.
    """

    names = ("latency", "throughput")
    is_clocked = True

    def __init__(self, networks: SupernetNetworks, folder: Path | None = None):
        self.networks, self.measured, self.folder = networks, MeasuredLatency(networks), folder
        self.learners: dict[int, _Learner] = {}

    def evaluate(self, candidate: Candidate) -> dict[str, Value]:
        threads = candidate.threads
        if threads not in self.learners:
            folder = self.folder if threads == 1 or self.folder is None else self.folder / f"{threads}-threads"
            self.learners[threads] = _Learner(LatencySamples(folder))
        learner = self.learners[threads]
        predictor = learner.predictor()
        if predictor is None:
            sample = self.measured.sample(candidate)
            learner.samples.add(sample)
            return self.measured.values(sample, threads)
        mod, plan = self.networks.module(candidate.architecture), candidate.plan
        work = network_work(mod, candidate.target, plan, placeholder_calibration(mod, plan))
        found = predictor.predict(work)
        how = f"predicted from {learner.count} measured networks, {100 * np.expm1(found.deviation):.0f} % deviation"
        return _times(found.seconds, f"{how}, {in_words(threads)}")


class _Learner:
    """The networks that were measured with as many threads, and what was learned from them."""

    def __init__(self, samples: LatencySamples):
        self.samples, self.count = samples, 0
        self.learned: LatencyPredictor | None = None

    def predictor(self) -> LatencyPredictor | None:
        """None until enough networks are measured."""
        if self.learned is None and len(found := self.samples.all()) >= LEAST_NETWORKS:
            self.learned, self.count = LatencyPredictor(), len(found)
            self.learned.fit(found)
        return self.learned
