"""Families of convolutional networks for 32 x 32 images as data: stages of blocks with a depth, a width, a kernel and
an expansion, and the spaces that a search draws them from.

A "resnet" is a 3x3 stem, stages of basic blocks and a dense layer on the means over all pixels. A block's first
convolution has `kernel` rows and columns and expansion * width channels, its second one is 3x3. A "mobilenet" has
inverted residuals instead: a 1x1 convolution to expansion * width channels, a depthwise
one of `kernel` rows and columns, and a 1x1 convolution back. The stem is as wide as the first stage.

References
    He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
    Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018.
    Cai et al., Once-for-All: Train One Network and Specialize it for Efficient Deployment, ICLR 2020.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .choice_space import ChoiceSpace, Point
from .errors import InvalidInputError

FAMILIES = ("resnet", "mobilenet")

BLOCK_LAYERS = {"resnet": ("conv1", "conv2"), "mobilenet": ("expand.0", "depthwise", "project")}
"""Names of the layers in a block, without a resnet's shortcut, which is "downsample"."""

WIDTH_STEP = 8
"""Widths are multiples of it: the vectors of every target hold as many channels or a multiple."""

CHANNELS, PIXELS, CLASSES = 3, 32, 10
"""Of an image, in each direction, and that it may be of."""

SETTINGS = ("depth", "width", "kernel", "expansion")
_STAGE = re.compile(r"(\d+)x(\d+)k(\d+)e([\d.]+)s(\d+)")


@dataclass(frozen=True)
class Stage:
    """Blocks in a row. depth: of blocks. width: channels that they hand on. stride: of the first one."""

    depth: int
    width: int
    kernel: int = 3
    expansion: float = 1.0
    stride: int = 1

    def __post_init__(self):
        object.__setattr__(self, "expansion", float(self.expansion))
        if self.depth < 1 or self.width < 1 or self.stride not in (1, 2):
            raise InvalidInputError(f"stage {self}: accepted are a depth and a width from 1, and a stride of 1 or 2")
        if self.width % WIDTH_STEP or self.expansion <= 0:
            raise InvalidInputError(
                f"stage {self}: accepted are widths that are multiples of {WIDTH_STEP}, and expansions above 0"
            )
        if self.kernel not in (1, 3, 5, 7):
            raise InvalidInputError(f"stage {self}: got a kernel of {self.kernel}, accepted are 1, 3, 5, 7")

    @property
    def inner(self) -> int:
        """Channels inside a block: expansion * width, to the nearest multiple of WIDTH_STEP (of two the larger)."""
        return max(1, int(self.width * self.expansion / WIDTH_STEP + 0.5)) * WIDTH_STEP

    def __str__(self) -> str:
        return f"{self.depth}x{self.width}k{self.kernel}e{self.expansion:g}s{self.stride}"


@dataclass(frozen=True)
class Architecture:
    """A network of a family, with a text form such as `resnet(3x16k3e1s1;3x32k3e1s2;3x64k3e1s2)`, ResNet-20."""

    family: str
    stages: tuple[Stage, ...]

    def __post_init__(self):
        if self.family not in FAMILIES:
            raise InvalidInputError(f"architecture: got the family {self.family!r}, accepted are {', '.join(FAMILIES)}")
        if not self.stages:
            raise InvalidInputError("architecture: it has no stages, accepted is one or more")

    def __str__(self) -> str:
        return f"{self.family}({';'.join(map(str, self.stages))})"

    @staticmethod
    def parse(text: str) -> Architecture:
        """The architecture behind a text form; InvalidInputError for anything else."""
        family, _, rest = text.strip().partition("(")
        found = [_STAGE.fullmatch(part) for part in rest.removesuffix(")").split(";")]
        if not rest.endswith(")") or not all(found):
            raise InvalidInputError(f"architecture: got {text!r}, accepted is such as resnet(1x16k3e1s1;1x32k3e1s2)")
        numbers = [match.groups() for match in found]
        return Architecture(family, tuple(Stage(int(d), int(w), int(k), float(e), int(s)) for d, w, k, e, s in numbers))


def layer_stages(architecture: Architecture) -> dict[str, int]:
    """Every layer's name, in program order, and the stage whose settings it has, from 1."""
    found, channels = {"stem": 1}, architecture.stages[0].width
    for number, stage in enumerate(architecture.stages, 1):
        for block in range(stage.depth):
            stride = stage.stride if block == 0 else 1
            names = BLOCK_LAYERS[architecture.family]
            found |= {f"stage{number}.{block}.{name}": number for name in names}
            if architecture.family == "resnet" and (channels, stride) != (stage.width, 1):
                found[f"stage{number}.{block}.downsample"] = number
            channels = stage.width
    return {**found, "linear": len(architecture.stages)}


def work_of(architecture: Architecture) -> tuple[int, int]:
    """(multiply-accumulates of an image, weights) of all convolutions and the dense layer."""
    first, last = architecture.stages[0].width, architecture.stages[-1].width
    layers = [(9 * CHANNELS * first, PIXELS**2), (CLASSES * last, 1)]  # weights, and at how many pixels they are used
    channels, side = first, PIXELS
    for stage in architecture.stages:
        for block in range(stage.depth):
            read, side = side, side // (stage.stride if block == 0 else 1)
            layers += _block_layers(architecture.family, stage, channels, read, side)
            channels = stage.width
    return sum(weights * pixels for weights, pixels in layers), sum(weights for weights, _ in layers)


def _block_layers(family: str, stage: Stage, channels: int, read: int, side: int) -> list[tuple[int, int]]:
    """(weights, pixels) of the layers of a block from `read`^2 pixels of so many channels to `side`^2."""
    square = stage.kernel**2
    if family == "mobilenet":
        first = (channels * stage.inner, read**2)
        return [first, (square * stage.inner, side**2), (stage.inner * stage.width, side**2)]
    shortcut = [(channels * stage.width, side**2)] if (channels, read) != (stage.width, side) else []
    return [(square * channels * stage.inner, side**2), (9 * stage.inner * stage.width, side**2), *shortcut]


@dataclass(frozen=True)
class StageSpace:
    """What a stage may be, each setting rising; see `Stage`."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    kernels: tuple[int, ...] = (3,)
    expansions: tuple[float, ...] = (1.0,)
    stride: int = 1

    @property
    def settings(self) -> dict[str, tuple]:
        """By the names of SETTINGS."""
        return dict(zip(SETTINGS, (self.depths, self.widths, self.kernels, self.expansions)))


@dataclass(frozen=True)
class ArchitectureSpace:
    """Networks of a family. Raises InvalidInputError if it is empty or holds impossible stages."""

    name: str
    family: str
    stages: tuple[StageSpace, ...]

    def __post_init__(self):
        for stage in self.stages:
            for width in stage.widths:
                for expansion in stage.expansions:
                    Stage(1, width, stage.kernels[0] if stage.kernels else 3, expansion, stage.stride)
        self.architecture(dict(zip(self.choices.dimensions, (v[0] for v in self.choices.dimensions.values()))))

    @property
    def choices(self) -> ChoiceSpace:
        """Dimensions `stage1.depth` and so on."""
        return ChoiceSpace(
            {
                f"stage{number}.{name}": values
                for number, stage in enumerate(self.stages, 1)
                for name, values in stage.settings.items()
            }
        )

    @property
    def largest(self) -> Architecture:
        """With the last value of every dimension: it holds the weights of all others."""
        return self.architecture({name: values[-1] for name, values in self.choices.dimensions.items()})

    @property
    def smallest(self) -> Architecture:
        """With the first value of every dimension."""
        return self.architecture({name: values[0] for name, values in self.choices.dimensions.items()})

    def architecture(self, point: Mapping) -> Architecture:
        """The network of a point of `choices`; other dimensions of the point are left alone."""
        stages = (
            Stage(*(point[f"stage{number}.{name}"] for name in SETTINGS), stage.stride)
            for number, stage in enumerate(self.stages, 1)
        )
        return Architecture(self.family, tuple(stages))

    def point(self, architecture: Architecture) -> Point:
        """The point of a network; InvalidInputError if it is not in the space."""
        if architecture.family != self.family or len(architecture.stages) != len(self.stages):
            raise InvalidInputError(f"architecture {architecture}: is not of the space {self.name}")
        point = {
            f"stage{number}.{name}": getattr(stage, name)
            for number, stage in enumerate(architecture.stages, 1)
            for name in SETTINGS
        }
        self.choices.check(point)
        return point

    def sample(self, random: np.random.Generator) -> Architecture:
        """A network, each with the same chance."""
        return self.architecture(self.choices.sample(random))


SPACES = {
    one.name: one
    for one in (
        ArchitectureSpace(
            "resnet-cifar",
            "resnet",
            (
                StageSpace((1, 2, 3, 5), (8, 16)),
                StageSpace((1, 2, 3, 5), (16, 24, 32), expansions=(0.5, 1.0), stride=2),
                StageSpace((1, 2, 3, 5), (32, 48, 64), expansions=(0.5, 1.0), stride=2),
            ),
        ),
        ArchitectureSpace(
            "mobilenet-cifar",
            "mobilenet",
            (
                StageSpace((1, 2), (16, 24), (3, 5), (1.0, 2.0)),
                StageSpace((1, 2, 3), (24, 32), (3, 5), (2.0, 4.0), stride=2),
                StageSpace((1, 2, 3, 4), (48, 64, 96), (3, 5), (2.0, 4.0), stride=2),
            ),
        ),
    )
}
"""Spaces by name. "resnet-cifar" holds ResNet-8, 14, 20 and 32, and narrower ones; its kernels are all 3x3, since a
block with a 1x1 kernel costs more accuracy than one with fewer channels."""


def architecture_space(name: str) -> ArchitectureSpace:
    """The space of this name; InvalidInputError with the names there are."""
    if name not in SPACES:
        raise InvalidInputError(f"space: got {name!r}, accepted are {', '.join(SPACES)}")
    return SPACES[name]
