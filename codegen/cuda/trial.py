"""Single convolutions to try out on a GPU: a task's choices as a library of functions, and their arguments.

Compiling needs no GPU. What a task should give is its operator's reference body, compiled for the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from espalier.core.choices import Choice, Task
from espalier.core.layers import Activation, Conv2dSpec
from espalier.targets.gpu import gpu_called
from espalier.targets.resolve import resolve_target

from ..cpu.kernels.problem import ConvProblem
from ..cpu.spaces import convolution_of
from ..cpu.trial import NO_BYTE, body_of, random_arrays, written_channels
from .kernel_objects import Variant, link, object_of
from .kernels import conv2d, epilogue
from .kernels.choose_schedule import choose_schedule
from .layout import Layout
from .lower_layers import out_dtype
from .spaces import product_of, schedule_of

DEVICE = "cuda"
REFERENCE = "reference"
"""The function beside the choices' whose time never changes on a GPU that does nothing else."""
_LAYER = Conv2dSpec("reference", ("x", "weight"), Activation(), padding=(1, 1, 1, 1), format="float16")
REFERENCE_LAYER = ConvProblem(_LAYER, (8, 64, 56, 56), (64, 64, 3, 3), (8, 64, 56, 56))

TOLERANCE = {"float32": 1e-3, "tfloat32": 1e-2, "float16": 1e-2}
"""Of the largest value, by the format of the layer. Bytes are exact."""


@dataclass(frozen=True)
class Call:
    """A convolution under a schedule, as a function of tensors alone."""

    convolution: ConvProblem
    schedule: conv2d.Schedule

    @cached_property
    def product(self) -> conv2d.Problem:
        """The matrix product."""
        return product_of(self.convolution)

    @property
    def out_layout(self) -> Layout:
        """Of the output."""
        return Layout(out_dtype(self.convolution.spec))

    @property
    def called(self) -> Variant:
        """The kernel's own function."""
        return self.schedule.tile.variant(self.product.number_format)

    def fixed(self, name: str) -> Variant:
        """The function of this name with the numbers in it."""
        numbers = conv2d.call_numbers(self.product, self.schedule, self._given, self._end, self._fills)
        texts = (f"integer({one})" if isinstance(one, int) else f"number({one!r})" for one in numbers)
        scratch = int(self.schedule.splits > 1)
        macros = {"CALLED": self.called.name, "FIXED": ", ".join(texts), "HAS_SCRATCH": str(scratch)}
        return Variant("fixed_call.cu", name, tuple((f"ESPALIER_{key}", text) for key, text in macros.items()))

    def arguments(self, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Its tensors in order: inputs, scratch space, and the output last, filled with what is no result."""
        spec, layout = self.convolution.spec, Layout(self.product.numbers.element)
        given = {**arrays, **self._packed_end(arrays)}
        weight = conv2d.pack_weight(arrays["weight"], self.product.number_format)
        inputs = [layout.stored(arrays["x"]), weight]
        for role in self._given:
            if role == "residual":
                inputs.append((layout if spec.integer else Layout("float32")).stored(arrays[role]))
            else:
                inputs.append(conv2d.outside_of(spec) if role == "outside" else np.ascontiguousarray(given[role]))
        counters, partial = conv2d.scratch_shapes(self.product, self.schedule)
        scratch = [np.zeros(counters, np.int32), np.zeros(partial, self.product.numbers.sum)] if counters else []
        unwritten = NO_BYTE if self.out_layout.dtype == "uint8" else np.nan
        shape = self.out_layout.physical(self.convolution.out_shape)
        return [*inputs, *scratch, np.full(shape, unwritten, self.out_layout.dtype)]

    @property
    def _fills(self) -> bool:
        """Whether channels that a list leaves out are written: where a residual passes the gate."""
        spec = self.convolution.spec
        return self.product.winners is not None and spec.gate == "branch" and "residual" in spec.roles

    @property
    def _given(self) -> list[str]:
        """The roles of tensors behind x and weight, in the order of a call."""
        spec, lists = self.convolution.spec, [one for one in ("winners", "active") if getattr(self.product, one)]
        first = ["bias"] if spec.integer is None and "bias" in spec.roles else []
        first = ["bias", "factor"] if spec.integer is not None else first
        around = ["outside"] if conv2d.outside_of(spec) is not None else []
        return [*first, *(role for role in ("residual", "pi") if role in spec.roles), *lists, *around]

    @property
    def _end(self) -> list[int | float]:
        spec, channels = self.convolution.spec, self.convolution.channels_out
        stored = self.out_layout.channels(channels)
        if spec.integer is not None:
            return epilogue.byte_end(spec, stored, channels, self.convolution.rounding)
        return epilogue.real_end(spec, stored, self.out_layout.dtype)

    def _packed_end(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        spec = self.convolution.spec
        if spec.integer is not None:
            return epilogue.pack_end(spec, arrays, self.convolution.rounding)
        return {"bias": epilogue.pack_vector(arrays["bias"])} if "bias" in arrays else {}


@dataclass(frozen=True)
class Trial:
    """A choice of a task; what a list leaves out is not written, unless a residual passes it."""

    task: Task
    choice: Choice

    @cached_property
    def call(self) -> Call:
        """The convolution under the choice; InvalidInputError if there is none such."""
        return Call(convolution_of(self.task), schedule_of(self.choice))

    def arguments(self, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """See `Call.arguments`."""
        return self.call.arguments(arrays)

    def is_cold(self, arguments: Sequence[np.ndarray]) -> bool:
        """False: TVM can drive arguments out of a CPU's caches only."""
        return False

    def difference(self, stored: np.ndarray, arrays: Mapping[str, np.ndarray], expected: np.ndarray) -> float:
        """How far off the written channels are, as a multiple of what rounding explains; infinite for NaN."""
        convolution = self.call.convolution
        got = self.call.out_layout.plain(stored, convolution.out_shape)
        written = written_channels(convolution, arrays)
        if self.call.out_layout.dtype == "uint8":
            return float("inf") if np.any((got != expected)[written]) else 0.0
        tolerance = TOLERANCE.get(convolution.spec.format, TOLERANCE["float32"])
        off = np.abs(got - expected)[written].max(initial=0) / tolerance / max(1.0, np.abs(expected).max(initial=0))
        return float(off) if np.isfinite(off) else float("inf")


@dataclass(frozen=True)
class Library:
    """Functions to be compiled and linked. arch: for which GPU."""

    functions: Mapping[str, Call]
    arch: str

    def export_library(self, path: str) -> None:
        """Write the shared library; ToolNotFoundError if no compiler is there or it fails."""
        variants = {call.called.name: call.called for call in self.functions.values()}
        variants |= {name: call.fixed(name) for name, call in self.functions.items()}
        link(path, [str(object_of(one, self.arch)) for one in variants.values()])


def library_of(task: Task, choices: Sequence[Choice]) -> Library:
    """A function for each choice, named as in `names_of`, and the reference."""
    functions = {name: Trial(task, choice).call for name, choice in zip(names_of(choices), choices)}
    return Library({**functions, REFERENCE: _reference(task)}, str(task.device["arch"]))


def names_of(choices: Sequence[Choice]) -> list[str]:
    """What the functions of a library are called."""
    return [f"choice{number}" for number in range(len(choices))]


def reference_arguments(task: Task) -> list[np.ndarray]:
    """The arguments of the reference."""
    shapes = {"x": REFERENCE_LAYER.x_shape, "weight": REFERENCE_LAYER.weight_shape}
    return _reference(task).arguments({role: np.full(shape, 0.01, np.float32) for role, shape in shapes.items()})


def cores_of(task: Task) -> int:
    """One thread launches kernels."""
    return 1


def arrays_of(task: Task) -> dict[str, np.ndarray]:
    """Random arrays by role, as the operator takes them."""
    convolution = convolution_of(task)
    arrays = random_arrays(convolution)
    if convolution.spec.format == "float16":
        arrays["weight"] = arrays["weight"].astype(np.float16).astype(np.float32)
    return arrays


def expected_of(task: Task, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """[N, C_out, P, Q]: what the operator's body gives."""
    return body_of(convolution_of(task), arrays, resolve_target("llvm"))


def _reference(task: Task) -> Call:
    gpu = gpu_called(str(task.device["arch"]), task.device.get("model"))
    return Call(REFERENCE_LAYER, choose_schedule(product_of(REFERENCE_LAYER), gpu))
