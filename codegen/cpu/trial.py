"""Single kernels to try out: a task's choices as a library of functions, their arguments, and what they should give.

What a task should give is its operator's reference body (contract 1), compiled as stock Relax.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tvm
from tvm import relax, tirx
from tvm.target import Target

from espalier.core.choices import Choice, Task
from espalier.core.layers import ActiveList
from espalier.ir.operators import layer_function
from espalier.targets.resolve import resolve_target

from .generate import generate
from .kernels.cost import NEAR_BYTES
from .kernels.peak import peak_kernel, peak_shapes
from .kernels.problem import ConvProblem
from .layout import Layout
from .select import Family
from .spaces import convolution_of, family_of, problem_of_task, surroundings_of_task
from .surroundings import Surroundings

REFERENCE = "reference"
"""The function beside the choices' whose time never changes on a machine that does nothing else."""

TOLERANCE = {"float32": 1e-3, "bfloat16": 2.0**-7}
"""Of the largest value, by the format of the output: sums in another order, Winograd's coarser rounding included.
Bytes are exact."""

DEVICE = "cpu"
"""TVM's name of what the kernels run on."""

CONSTANTS = ("weight", "bias", "multiplier", "scale")
NO_BYTE = 201
"""In outputs of bytes before they are written; results are spread around 0 and seldom so large."""

TYPES = {"x": "uint8", "residual": "uint8", "pi": "uint8", "weight": "int8", "scale": "float32"}
"""Of the arguments of a quantized layer; those of others are int32."""


@dataclass(frozen=True)
class Trial:
    """A choice of a task with the layouts that its kernel prefers.

    Output and residual have no margin, channels that lose are not cleared, and large weights are cold, unless the
    task's surroundings say otherwise.
    """

    task: Task
    choice: Choice

    @cached_property
    def problem(self) -> ConvProblem:
        """The convolution."""
        return problem_of_task(self.task)[0]

    @cached_property
    def family(self) -> Family:
        """The family with its tile; InvalidInputError if the task has no such choice."""
        return family_of(*problem_of_task(self.task), self.choice)

    @cached_property
    def surroundings(self) -> Surroundings:
        """Of the kernel."""
        return surroundings_of_task(self.task) or Surroundings(self.family.x_blocks[0], self.problem.halo_needed)

    @cached_property
    def x_layout(self) -> Layout:
        """Of the input: with the margin that the padding reads."""
        spec = self.problem.spec
        dtype, fill = ("uint8", spec.integer.x_zero) if spec.integer else (spec.format, 0)
        return Layout(self.surroundings.x_block, self.surroundings.x_halo, dtype, fill)

    @cached_property
    def out_layout(self) -> Layout:
        """Of the output."""
        return Layout(self.family.out_block, self.surroundings.out_halo, self.problem.spec.out_format)

    @cached_property
    def residual_layout(self) -> Layout | None:
        """Of the residual, None without."""
        spec = self.problem.spec
        dtype = "uint8" if spec.integer else "float32"
        layout = Layout(self.family.out_block, self.surroundings.residual_halo, dtype)
        return layout if "residual" in spec.roles else None

    def kernel(self) -> tirx.PrimFunc:
        """The kernel."""
        layouts = self.x_layout, self.out_layout, self.residual_layout
        return self.family.build(*layouts, self.surroundings.clears_losers)

    def arguments(self, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The kernel's arguments in order, the output last, filled with what is no result."""
        constants = {role: array for role, array in arrays.items() if role in CONSTANTS}
        given = {**arrays, **self.family.pack(constants, self.x_layout.block)}
        stored = {"x": self.x_layout.pack}
        if self.residual_layout:
            stored["residual"] = self.residual_layout.pack
        inputs = [stored.get(role, np.ascontiguousarray)(given[role]) for role in self.problem.spec.roles]
        unwritten = NO_BYTE if self.out_layout.dtype == "uint8" else np.nan
        return [*inputs, self.out_layout.pack(np.full(self.problem.out_shape, unwritten, "float32"))]

    def is_cold(self, arguments: Sequence[np.ndarray]) -> bool:
        """Whether a network's other layers take the weights' place in the caches before the layer runs again."""
        if surroundings_of_task(self.task):
            return self.surroundings.weights_are_far
        return arguments[self.problem.spec.roles.index("weight")].nbytes > NEAR_BYTES

    def difference(self, stored: np.ndarray, arrays: Mapping[str, np.ndarray], expected: np.ndarray) -> float:
        """How far off the written channels are, as a multiple of what rounding explains; infinite for NaN."""
        got = self.out_layout.unpack(stored, self.problem.channels_out)
        written = written_channels(self.problem, arrays)
        if self.out_layout.dtype == "uint8":
            return float("inf") if np.any((got != expected)[written]) else 0.0
        limit = TOLERANCE[self.problem.spec.out_format] * max(1.0, float(np.abs(expected).max(initial=0)))
        off = np.abs(got - expected)[written].max(initial=0) / limit
        return float(off) if np.isfinite(off) else float("inf")


def library_of(task: Task, choices: Sequence[Choice], trial: type[Trial] = Trial) -> tvm.runtime.Executable:
    """A function for each choice, named as in `names_of`, and the reference."""
    return library_of_trials(task, [trial(task, choice) for choice in choices])


def library_of_trials(task: Task, trials: Sequence[Trial]) -> tvm.runtime.Executable:
    """The same for trials of several tasks, all on the device of this one."""
    target, (_, isa) = resolve_target(task.device), problem_of_task(task)
    kernels = {name: one.kernel() for name, one in zip(names_of(trials), trials)}
    kernels[REFERENCE] = peak_kernel(isa, isa.cores)
    functions = {name: kernel.with_attr("global_symbol", name) for name, kernel in kernels.items()}
    return tvm.compile(tvm.IRModule(functions), target)


def names_of(choices: Sequence) -> list[str]:
    """What the functions of a library are called."""
    return [f"choice{number}" for number in range(len(choices))]


def reference_arguments(task: Task) -> list[np.ndarray]:
    """The arguments of the reference."""
    _, isa = problem_of_task(task)
    return [np.full(shape, 0.5, "float32") for shape in peak_shapes(isa, isa.cores).values()]


def cores_of(task: Task) -> int:
    """The threads that the task is to be computed with."""
    return problem_of_task(task)[1].cores


def arrays_of(task: Task) -> dict[str, np.ndarray]:
    """Random arrays by role, as the operator takes them: x is zero outside its list, pi outside the winners'."""
    return random_arrays(convolution_of(task))


def random_arrays(problem: ConvProblem) -> dict[str, np.ndarray]:
    """As `arrays_of`."""
    random, spec, batch = np.random.default_rng(0), problem.spec, problem.x_shape[0]
    if spec.integer:
        return _bytes_of(problem, random)
    fan_in = np.float32(np.prod(problem.weight_shape[1:]))
    arrays = {
        "x": random.standard_normal(problem.x_shape, np.float32),
        "weight": random.standard_normal(problem.weight_shape, np.float32) / fan_in**0.5,
        "bias": random.standard_normal(problem.channels_out, np.float32),
        "residual": random.standard_normal(problem.out_shape, np.float32),
    }
    if spec.format == "bfloat16":
        arrays["weight"] = (arrays["weight"].view(np.uint32) & 0xFFFF0000).view(np.float32)
        arrays["x"] = (arrays["x"].view(np.uint32) & 0xFFFF0000).view(np.float32)
    if spec.winners:
        arrays["winners"] = _draw(spec.winners, batch, problem.channels_out, random)
        mask = _mask(spec.winners, arrays["winners"], problem.channels_out)
        arrays["pi"] = mask * random.uniform(0.5, 2, mask.shape).astype(np.float32)
    if spec.active:
        arrays["active"] = _draw(spec.active, batch, problem.channels_in, random)
        arrays["x"] *= _mask(spec.active, arrays["active"], problem.channels_in)[..., None, None]
    return {role: arrays[role] for role in spec.roles}


def _bytes_of(problem: ConvProblem, random: np.random.Generator) -> dict[str, np.ndarray]:
    """As `arrays_of`, of a quantized layer: its sums come out at the scale of bytes."""
    spec, batch, channels = problem.spec, problem.x_shape[0], problem.channels_out
    typical_sum = 74 * 74 * float(np.prod(problem.weight_shape[1:])) ** 0.5  # bytes are 74 off their mean
    scale = 60 / typical_sum / (128 if "pi" in spec.roles else 1)
    arrays = {
        "x": random.integers(0, 256, problem.x_shape),
        "weight": random.integers(-128, 128, problem.weight_shape),
        "bias": random.integers(-round(typical_sum), round(typical_sum), channels),
        "residual": random.integers(0, 256, problem.out_shape),
        "multiplier": np.full(channels, 2.0**spec.integer.shift * scale),
        "scale": np.full(channels, scale),
    }
    if spec.winners:
        arrays["winners"] = _draw(spec.winners, batch, channels, random)
        mask = _mask(spec.winners, arrays["winners"], channels)
        arrays["pi"] = mask * random.integers(1, 256, mask.shape)
    if spec.active:
        arrays["active"] = _draw(spec.active, batch, problem.channels_in, random)
        arrays["x"] = arrays["x"] * _mask(spec.active, arrays["active"], problem.channels_in)[..., None, None]
    return {role: arrays[role].astype(TYPES.get(role, "int32")) for role in spec.roles}


def expected_of(task: Task, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """float32 [N, C_out, P, Q]: what the operator's body gives."""
    return body_of(convolution_of(task), arrays, resolve_target(task.device))


def body_of(problem: ConvProblem, arrays: Mapping[str, np.ndarray], target: Target) -> np.ndarray:
    """As `expected_of`; target: a CPU."""
    program = generate(body_module(problem), target, lower=False)
    return program.run([arrays[role] for role in problem.spec.roles])[0]


def body_module(problem: ConvProblem) -> tvm.IRModule:
    """A network of the operator alone, its parameters named as its roles."""
    arrays = random_arrays(problem)
    types = [relax.TensorType(arrays[role].shape, str(arrays[role].dtype)) for role in problem.spec.roles]
    params = [relax.Var(role, one) for role, one in zip(problem.spec.roles, types)]
    builder = relax.BlockBuilder()
    function = builder.add_func(layer_function(problem.spec, params), "operator")
    with builder.function("main", params):
        with builder.dataflow():
            result = builder.emit_output(relax.Call(function, params))
        builder.emit_func_output(result)
    return builder.get()


def _draw(listed: ActiveList, batch: int, channels: int, random: np.random.Generator) -> np.ndarray:
    """int32 [N, count]: ascending numbers of groups."""
    order = random.random((batch, channels // listed.granularity)).argsort(1)
    return np.sort(order[:, : listed.count], axis=1).astype(np.int32)


def _mask(listed: ActiveList, numbers: np.ndarray, channels: int) -> np.ndarray:
    """float32 [N, C], 1 for the channels of the listed groups."""
    mask = np.zeros((len(numbers), channels // listed.granularity), np.float32)
    np.put_along_axis(mask, numbers, 1, axis=1)
    return mask.repeat(listed.granularity, axis=1)


def written_channels(problem: ConvProblem, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """bool [N, C_out]: the channels that the kernel writes."""
    spec = problem.spec
    if spec.winners is None or (spec.gate == "branch" and "residual" in spec.roles):
        return np.ones((problem.x_shape[0], problem.channels_out), bool)
    return _mask(spec.winners, arrays["winners"], problem.channels_out) > 0
