"""What is searched together: a network of a space, what the plan does to each stage, and what the target is asked for.

Layers of a stage share their settings; the stem has those of the first stage, the dense layer those of the last one.
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
from espalier.core.plan import Plan
from espalier.targets.boards import KIND
from espalier.targets.fpga import FRAMES_PER_S
from espalier.targets.resolve import as_dict, resolve_target

FORMATS = {"llvm": ("float32", "uniform<8>"), KIND: ("uniform<4>", "uniform<6>", "uniform<8>")}
"""Of weights, by the kind of target. Fewer bits than eight save products of fabric on an FPGA, and no time on a CPU."""

FASTEST = 0
FRAMES = (FASTEST, 500, 1000, 2000)
"""Frames a second that an FPGA's design is folded for; FASTEST: what fits."""

ARCHITECTURES = "architectures"
"""In the file of a space, the name of the line that says which architectures are meant."""


@dataclass(frozen=True)
class Candidate:
    """What a point stands for. target: a dict that `resolve_target` takes."""

    architecture: Architecture
    plan: Plan
    target: Mapping

    @property
    def stage_weights(self) -> tuple[str, ...]:
        """The format of each stage's weights."""
        formats = {stage: self.plan.layer(name).weights for name, stage in layer_stages(self.architecture).items()}
        return tuple(formats[stage] for stage in sorted(formats))


def stage_plan(architecture: Architecture, weights: Sequence[str]) -> Plan:
    """The plan that gives the layers of each stage weights in its format."""
    return Plan(layers={name: {"weights": weights[stage - 1]} for name, stage in layer_stages(architecture).items()})


@dataclass(frozen=True)
class JointSpace:
    """choices: dimensions `stage1.depth`, `stage1.weights`, ..., and `frames_per_s` of an FPGA."""

    architectures: ArchitectureSpace
    target: Mapping
    choices: ChoiceSpace

    @staticmethod
    def of(name: str, target) -> JointSpace:
        """The whole space of these architectures on a target; errors as of `resolve_target`."""
        options, architectures = as_dict(resolve_target(target)), architecture_space(name)
        if options["kind"] not in FORMATS:
            raise InvalidInputError(f"search: got the target {target}, accepted are llvm and fpga_hls/<board>")
        dimensions = dict(architectures.choices.dimensions)
        for number in range(1, len(architectures.stages) + 1):
            dimensions[f"stage{number}.weights"] = FORMATS[options["kind"]]
        if options["kind"] == KIND and FRAMES_PER_S not in options:
            dimensions["frames_per_s"] = FRAMES
        return JointSpace(architectures, options, ChoiceSpace(dimensions))

    @staticmethod
    def read(text: str, target) -> JointSpace:
        """By name, or from a file: a line `architectures = NAME`, and dimensions with fewer values than the whole has.

        Raises InvalidInputError for a file that is empty or asks for what the whole space does not have.
        """
        if text in SPACES or not Path(text).is_file():
            return JointSpace.of(text, target)
        given = ChoiceSpace.parse(read_text(Path(text), "space"))
        (name,) = given.dimensions.get(ARCHITECTURES, ("",))[:1]
        whole = JointSpace.of(str(name), target)
        dimensions = dict(whole.choices.dimensions)
        for dimension, values in given.dimensions.items():
            if dimension == ARCHITECTURES:
                continue
            accepted = dimensions.get(dimension)
            if accepted is None:
                raise InvalidInputError(f"space {text}: got {dimension}, accepted are {', '.join(dimensions)}")
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

    def candidate(self, point: Point) -> Candidate:
        """The network, plan and target of a point."""
        architecture = self.architectures.architecture(point)
        weights = [point[f"stage{number}.weights"] for number in range(1, len(architecture.stages) + 1)]
        frames = point.get("frames_per_s", FASTEST)
        target = {**self.target, FRAMES_PER_S: frames} if frames != FASTEST else self.target
        return Candidate(architecture, stage_plan(architecture, weights), target)
