"""What is searched together: a network of a space, what the plan does to each stage, and what the target is asked for.

Layers of a stage share their settings; the stem has those of the first stage, the dense layer those of the last one.
Some dimensions are part of a space only where its file gives them, see `JointSpace.offered`: what they trade is known
not to pay (density), or not for everyone (threads).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from espalier.core.architecture import SPACES, Architecture, ArchitectureSpace, architecture_space, layer_stages
from espalier.core.choice_space import ChoiceSpace, Point
from espalier.core.errors import InvalidInputError
from espalier.core.files import read_text
from espalier.core.formats import parse_format
from espalier.core.plan import Plan
from espalier.measure.threads import cores
from espalier.targets.boards import KIND
from espalier.targets.fpga import FRAMES_PER_S
from espalier.targets.resolve import as_dict, resolve_target

CPU, GPU = "llvm", "cuda"

GPU_FLOAT = "float16"
"""A format that no CPU here computes in."""

FORMATS = {
    CPU: ("float32", "uniform<8>"),
    GPU: (GPU_FLOAT, "uniform<8>"),
    KIND: ("uniform<4>", "uniform<6>", "uniform<8>"),
}
"""Of weights, by the kind of target. Fewer bits than eight save products of fabric on an FPGA, and no time on a CPU."""

ACTIVATIONS = ("uniform<4>", "uniform<6>", "uniform<8>")
"""Of the inputs of layers on an FPGA; elsewhere they follow the weights."""

FULL_BITS = 8
"""Activations of so many bits cost next to no accuracy."""

DENSITIES, GRANULARITIES = (0.5, 0.75, 1.0), (1, 4, 8)
"""Granularities divide every width of a space."""

UNLESS_GIVEN = {"density": 1.0, "granularity": None, "activations": None}
PLAIN = ("density", "activations")
"""Settings that a stage has where its space does not say; those by which networks are no longer plain."""

FASTEST = 0
FRAMES = (FASTEST, 500, 1000, 2000)
"""Frames a second that an FPGA's design is folded for; FASTEST: what fits."""

BATCHES = (1, 8, 32, 128)
"""Images that a GPU computes at a time."""

CORES, ARCHITECTURES = "num-cores", "architectures"
"""A CPU target's option, and in the file of a space the name of the line that says which architectures are meant."""


@dataclass(frozen=True)
class Candidate:
    """What a point stands for. target: a dict for `resolve_target`. threads: of a CPU. batch: images of a run."""

    architecture: Architecture
    plan: Plan
    target: Mapping
    threads: int = 1
    batch: int = 1

    @property
    def stage_weights(self) -> tuple[str, ...]:
        """The format of each stage's weights."""
        formats = {stage: self.plan.layer(name).weights for name, stage in layer_stages(self.architecture).items()}
        return tuple(formats[stage] for stage in sorted(formats))

    @cached_property
    def has_plain_activations(self) -> bool:
        """Whether no layer is gated and no activation has fewer than FULL_BITS bits."""
        layers = map(self.plan.layer, self.plan.layers)
        return all(is_plain(one.density, one.activations) for one in layers)


def is_plain(density: float = 1.0, activations: str | None = None) -> bool:
    """Whether a layer with these settings computes all channels, of inputs that hardly lose by being rounded."""
    return density == 1 and (activations is None or parse_format(activations).bits >= FULL_BITS)


def stage_plan(architecture: Architecture, weights: Sequence[str], **others: Sequence) -> Plan:
    """The plan that gives the layers of each stage weights in its format; `others` are further settings by stage."""
    settings = {"weights": weights, **others}
    return Plan(
        layers={
            name: {setting: values[stage - 1] for setting, values in settings.items()}
            for name, stage in layer_stages(architecture).items()
        }
    )


def on_cpu(plan: Plan) -> Plan:
    """The same plan for a CPU, where layers in the float format that only GPUs have are in float32."""
    gpu_only = {name: one for name, one in plan.layers.items() if one["weights"] == GPU_FLOAT}
    return Plan(layers={**plan.layers, **{name: {**one, "weights": "float32"} for name, one in gpu_only.items()}})


@dataclass(frozen=True)
class JointSpace:
    """choices: dimensions `stage1.depth`, `stage1.weights`, ..., `frames_per_s` of an FPGA and `batch` of a GPU."""

    architectures: ArchitectureSpace
    target: Mapping
    choices: ChoiceSpace

    @staticmethod
    def of(name: str, target) -> JointSpace:
        """All that is searched unless a file says otherwise; errors as of `resolve_target`."""
        options, architectures = as_dict(resolve_target(target)), architecture_space(name)
        kind, dimensions = options["kind"], dict(architectures.choices.dimensions)
        for number in range(1, len(architectures.stages) + 1):
            dimensions[f"stage{number}.weights"] = FORMATS[kind]
        if kind == KIND and FRAMES_PER_S not in options:
            dimensions["frames_per_s"] = FRAMES
        if kind == GPU:
            dimensions["batch"] = BATCHES
        return JointSpace(architectures, options, ChoiceSpace(dimensions))

    @property
    def offered(self) -> dict[str, tuple]:
        """Dimensions that a file may add, with all that it may ask for: `stage1.density` (kept channels, chosen for
        each image), `stage1.granularity` (channels that are kept together), `stage1.activations` of an FPGA, and
        `threads` of a CPU."""
        settings = {"density": DENSITIES, "granularity": GRANULARITIES}
        settings |= {"activations": ACTIVATIONS} if self.is_fpga else {}
        numbers = range(1, len(self.architectures.stages) + 1)
        found = {f"stage{number}.{name}": values for number in numbers for name, values in settings.items()}
        return {**found, "threads": tuple(range(1, len(cores()) + 1))} if self.target["kind"] == CPU else found

    @staticmethod
    def read(text: str, target) -> JointSpace:
        """By name, or from a file: a line `architectures = NAME`, and a line for each dimension that has fewer values
        than the whole space's, or that the whole space only offers.

        Raises InvalidInputError for a file that is empty or asks for what there is not.
        """
        if text in SPACES or not Path(text).is_file():
            return JointSpace.of(text, target)
        given = ChoiceSpace.parse(read_text(Path(text), "space"))
        (name,) = given.dimensions.get(ARCHITECTURES, ("",))[:1]
        whole = JointSpace.of(str(name), target)
        dimensions = dict(whole.choices.dimensions)
        known = {**whole.offered, **dimensions}
        for dimension, values in given.dimensions.items():
            if dimension == ARCHITECTURES:
                continue
            accepted = known.get(dimension)
            if accepted is None:
                raise InvalidInputError(f"space {text}: got {dimension}, accepted are {', '.join(known)}")
            if not set(values) <= set(accepted):
                raise InvalidInputError(
                    f"space {text}, {dimension}: got {list(values)}, accepted are some of {list(accepted)}"
                )
            dimensions[dimension] = values
        return JointSpace(whole.architectures, whole.target, ChoiceSpace(dimensions))

    @cached_property
    def is_fpga(self) -> bool:
        """Whether the target is an FPGA board."""
        return self.target["kind"] == KIND

    @cached_property
    def is_gpu(self) -> bool:
        """Whether the target is a GPU."""
        return self.target["kind"] == GPU

    @cached_property
    def has_plain_activations(self) -> bool:
        """Whether that is true of every candidate."""
        settings = [(name.rpartition(".")[2], values) for name, values in self.choices.dimensions.items()]
        return all(is_plain(**{name: one}) for name, values in settings if name in PLAIN for one in values)

    def text(self, point: Point) -> str:
        """The file of a space that holds this point alone."""
        lines = ChoiceSpace({name: (value,) for name, value in point.items()})
        return f"{ARCHITECTURES} = {self.architectures.name}\n{lines}"

    def candidate(self, point: Point) -> Candidate:
        """The network, plan and target of a point."""
        architecture = self.architectures.architecture(point)
        numbers = range(1, len(architecture.stages) + 1)
        weights = [point[f"stage{number}.weights"] for number in numbers]
        others = {
            name: [point.get(f"stage{number}.{name}", one) for number in numbers]
            for name, one in UNLESS_GIVEN.items()
            if any(f"stage{number}.{name}" in point for number in numbers)
        }
        target = dict(self.target)
        if point.get("frames_per_s", FASTEST) != FASTEST:
            target[FRAMES_PER_S] = point["frames_per_s"]
        if "threads" in point:
            target[CORES] = point["threads"]
        plan = stage_plan(architecture, weights, **others)
        return Candidate(architecture, plan, target, point.get("threads", 1), point.get("batch", 1))
