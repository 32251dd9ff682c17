"""What is searched together: a network of a space, what the plan does to each stage, and what the target is asked for.

Layers of a stage share their settings; the stem has those of the first stage, the dense layer those of the last one.
Some dimensions are part of a space only where its file gives them, see `JointSpace.offered`: what they trade is known
not to pay (density), or not for everyone (threads). Others give a block or a single layer settings of its own, see
`JointSpace.finer`; they are idle where the network has no such block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
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

FORMAT_SETTINGS = ("weights", "activations")
GATE_SETTINGS = ("density", "granularity")
PLAN_SETTINGS = (*FORMAT_SETTINGS, *GATE_SETTINGS)
"""Of a layer, and of the gates of a block; the stem and the dense layer have none."""

FASTEST = 0
FRAMES = (FASTEST, 500, 1000, 2000)
"""Frames a second that an FPGA's design is folded for; FASTEST: what fits."""

BATCHES = (1, 8, 32, 128)
"""Images that a GPU computes at a time."""

_BLOCK = re.compile(r"(stage\d+)\.(\d+)")

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
        """The format of each stage's weights, where its layers share one."""
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


def stage_plan(architecture: Architecture, weights: Sequence[str]) -> Plan:
    """The plan that gives the layers of each stage weights in its format."""
    return Plan(layers={name: {"weights": weights[stage - 1]} for name, stage in layer_stages(architecture).items()})


def on_cpu(plan: Plan) -> Plan:
    """The same plan for a CPU, where layers in the float format that only GPUs have are in float32."""
    gpu_only = {name: one for name, one in plan.layers.items() if one["weights"] == GPU_FLOAT}
    return Plan(layers={**plan.layers, **{name: {**one, "weights": "float32"} for name, one in gpu_only.items()}})


def _places(layer: str, stage: int) -> Iterator[str]:
    """What may have settings of its own that a layer has, the finest first."""
    yield layer
    if block := _BLOCK.match(layer):
        yield block[0]
    yield f"stage{stage}"


@dataclass(frozen=True)
class _Idle:
    """Dimensions of plans that no layer of a point's network has its settings from: those of a block that is not there,
    of a stage whose blocks have their own, and the granularity of gates that are not there."""

    architectures: ArchitectureSpace
    dimensions: tuple[str, ...]

    def __call__(self, point: Mapping) -> set[str]:
        used = set()
        for given in _given(self.architectures.architecture(point), self.dimensions):
            is_gated = "density" in given and point[given["density"]] < 1
            used |= {one for setting, one in given.items() if setting != "granularity" or is_gated}
        return set(self.dimensions) - used


@lru_cache(1024)
def _given(architecture: Architecture, dimensions: tuple[str, ...]) -> list[dict[str, str]]:
    """For each layer, from which dimension it has each setting, without those that it has from none."""
    known, found = set(dimensions), []
    for layer, stage in layer_stages(architecture).items():
        settings = PLAN_SETTINGS if _BLOCK.match(layer) else FORMAT_SETTINGS
        places = list(_places(layer, stage))
        ways = {one: next((n for n in (f"{place}.{one}" for place in places) if n in known), None) for one in settings}
        found.append({setting: name for setting, name in ways.items() if name})
    return found


def choices_of(architectures: ArchitectureSpace, dimensions: Mapping[str, tuple]) -> ChoiceSpace:
    """The space of a search with these dimensions, which tells those that are idle."""
    names = tuple(name for name in dimensions if name.rpartition(".")[2] in PLAN_SETTINGS)
    always = {f"stage{number}.weights" for number in range(1, len(architectures.stages) + 1)}
    return ChoiceSpace(dimensions, _Idle(architectures, names) if set(names) > always else None)


def _check_block(where: str, dimension: str, dimensions: Mapping[str, tuple]) -> None:
    """Raise InvalidInputError for a dimension of a block that is in no network."""
    block = _BLOCK.match(dimension)
    depths = dimensions.get(f"{block[1]}.depth") if block else None
    if depths and int(block[2]) >= depths[-1]:
        raise InvalidInputError(
            f"{where}: got {dimension}, accepted are blocks up to {block[1]}.{depths[-1] - 1}, the last one of the "
            "deepest network"
        )


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

    @property
    def finer(self) -> dict[str, tuple]:
        """Dimensions that a file may add to give a block, or a layer, settings other than its stage's: formats as in
        `stage1.0.weights` of the first block, `stage1.0.conv1.weights` and `stem.weights`, and of blocks density and
        granularity too."""
        formats = {"weights": FORMATS[self.target["kind"]]} | ({"activations": ACTIVATIONS} if self.is_fpga else {})
        settings = {**formats, "density": DENSITIES, "granularity": GRANULARITIES}
        layers = list(layer_stages(self.architectures.largest))
        blocks = dict.fromkeys(found[0] for found in map(_BLOCK.match, layers) if found)
        of_blocks = {f"{block}.{name}": values for block in blocks for name, values in settings.items()}
        return of_blocks | {f"{layer}.{name}": values for layer in layers for name, values in formats.items()}

    @staticmethod
    def read(text: str, target) -> JointSpace:
        """By name, or from a file: a line `architectures = NAME`, and a line for each dimension that has fewer values
        than the whole space's, or that the whole space only offers.

        Raises InvalidInputError for a file that is empty or asks for what there is not.
        """
        if text in SPACES:
            return JointSpace.of(text, target)
        if not Path(text).is_file():
            names = ", ".join(SPACES)
            raise InvalidInputError(f"space: got {text!r}, accepted are {names}, or a file that narrows one")
        try:
            given = ChoiceSpace.parse(read_text(Path(text), "space"))
        except InvalidInputError as error:
            raise InvalidInputError(f"{text}: {error}" if text not in str(error) else str(error)) from None
        names = given.dimensions.get(ARCHITECTURES)
        if names is None:
            accepted = " or ".join(f"`{ARCHITECTURES} = {name}`" for name in SPACES)
            raise InvalidInputError(f"space {text}: no line says {ARCHITECTURES}, accepted is {accepted}")
        if len(names) > 1:
            raise InvalidInputError(f"space {text}, {ARCHITECTURES}: got {list(names)}, accepted is one")
        whole = JointSpace.of(str(names[0]), target)
        asked = {name: values for name, values in given.dimensions.items() if name != ARCHITECTURES}
        coarse, finer = {**whole.offered, **whole.choices.dimensions}, whole.finer
        dimensions = {**whole.choices.dimensions, **asked}
        for dimension, values in sorted(asked.items(), key=lambda one: one[0] not in coarse):  # depths before blocks
            _check_block(f"space {text}", dimension, dimensions)
            accepted = coarse.get(dimension) or finer.get(dimension)
            if accepted is None:
                examples = f"{next(iter(finer))} and {list(finer)[-1]}"
                raise InvalidInputError(
                    f"space {text}: got {dimension}, accepted are {', '.join(coarse)}, and what a block or a layer has "
                    f"of its own, such as {examples}"
                )
            if not set(values) <= set(accepted):
                raise InvalidInputError(
                    f"space {text}, {dimension}: got {list(values)}, accepted are some of {list(accepted)}"
                )
        return JointSpace(whole.architectures, whole.target, choices_of(whole.architectures, dimensions))

    @cached_property
    def is_fpga(self) -> bool:
        """Whether the target is an FPGA board."""
        return self.target["kind"] == KIND

    @cached_property
    def is_gpu(self) -> bool:
        """Whether the target is a GPU."""
        return self.target["kind"] == GPU

    @cached_property
    def is_tabled(self) -> bool:
        """Whether a table of fine-tuned networks says what every candidate is worth: activations are plain, and layers
        of a stage share a format."""
        settings = [(name.rpartition(".")[2], values) for name, values in self.choices.dimensions.items()]
        plain = (is_plain(**{name: one}) for name, values in settings if name in PLAIN for one in values)
        return all(plain) and not self.finer.keys() & self.choices.dimensions.keys()

    def text(self, point: Point) -> str:
        """The file of a space that holds this point alone."""
        lines = ChoiceSpace({name: (value,) for name, value in point.items()})
        return f"{ARCHITECTURES} = {self.architectures.name}\n{lines}"

    def candidate(self, point: Point) -> Candidate:
        """The network, plan and target of a point."""
        architecture = self.architectures.architecture(point)
        given = _given(architecture, tuple(point))
        settings = [one for one in PLAN_SETTINGS if any(one in names for names in given)]
        layers = {
            layer: {one: point[names[one]] if one in names else UNLESS_GIVEN[one] for one in settings}
            for layer, names in zip(layer_stages(architecture), given)
        }
        target = dict(self.target)
        if point.get("frames_per_s", FASTEST) != FASTEST:
            target[FRAMES_PER_S] = point["frames_per_s"]
        if "threads" in point:
            target[CORES] = point["threads"]
        return Candidate(architecture, Plan(layers=layers), target, point.get("threads", 1), point.get("batch", 1))
