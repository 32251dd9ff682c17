"""The graph executor as Relay's scripts use it; answers to `tvm.contrib.graph_executor`."""

from __future__ import annotations

import time

import numpy as np
import tvm
from tvm.runtime.module import BenchmarkResult

from .core.artifact import TensorSpec
from .core.errors import InvalidInputError
from .relay_library import GraphProgram


class GraphModule:
    """Runs a compiled network: set the inputs, run, get the outputs.

    module: what `lib["default"](device)` returned.
    Every method raises InvalidInputError for a name, number, shape or type that the network lacks.
    """

    def __init__(self, module: GraphProgram):
        if not isinstance(module, GraphProgram):
            raise InvalidInputError(f'GraphModule: got {type(module).__name__}, accepted is lib["default"](device)')
        self._artifact = module.artifact
        self._device = module.device
        self._inputs: dict[str, np.ndarray] = {}
        self._outputs: list[np.ndarray] | None = None

    def set_input(self, key: str | int | None = None, value=None, **params) -> None:
        """Set one input by name or number, or several by name; the values are copied."""
        named = params if key is None else {key: value, **params}
        for name, array in named.items():
            spec = self._input(name)
            self._inputs[spec.name] = spec.check(_to_numpy(array)).copy()

    def run(self, **input_dict) -> None:
        """Set the given inputs and compute the outputs."""
        self.set_input(**input_dict)
        self._outputs = self._artifact.program.run(self._artifact.bind(self._inputs))

    def get_num_inputs(self) -> int:
        """Number of inputs."""
        return len(self._artifact.inputs)

    def get_num_outputs(self) -> int:
        """Number of outputs."""
        return len(self._artifact.outputs)

    def get_input_index(self, name: str) -> int:
        """Number of the input of that name, -1 if there is none."""
        return next((index for index, spec in enumerate(self._artifact.inputs) if spec.name == name), -1)

    def get_input(self, index: str | int, out=None):
        """The value set for an input, as a tensor; copied into `out` if that is given."""
        spec = self._input(index)
        if spec.name not in self._inputs:
            raise InvalidInputError(f"input {spec.name}: not set yet, call set_input first")
        return self._tensor(self._inputs[spec.name], out)

    def get_output(self, index: int, out=None):
        """An output of the last run, as a tensor; copied into `out` if that is given."""
        if self._outputs is None:
            raise InvalidInputError(f"output {index}: not computed yet, call run first")
        if not 0 <= index < len(self._outputs):
            raise InvalidInputError(f"output {index}: accepted are 0 to {len(self._outputs) - 1}")
        return self._tensor(self._outputs[index], out)

    def benchmark(self, device, repeat: int = 5, number: int = 5, min_repeat_ms: int = 0) -> BenchmarkResult:
        """Time runs on the inputs that are set (zeros where none is).

        Each of `repeat` results is the mean seconds of at least `number` runs that take at least
        `min_repeat_ms` together.
        """
        if device != self._device:
            raise InvalidInputError(f"benchmark: got {device}, accepted is {self._device}, where the module is")
        zeros = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in self._artifact.inputs}
        inputs = self._artifact.bind({**zeros, **self._inputs})
        self._artifact.program.run(inputs)
        return BenchmarkResult([self._mean_s(inputs, number, min_repeat_ms / 1e3) for _ in range(repeat)])

    def _mean_s(self, inputs: list[np.ndarray], number: int, least_s: float) -> float:
        runs, start = 0, time.perf_counter()
        while runs < max(1, number) or time.perf_counter() - start < least_s:
            self._artifact.program.run(inputs)
            runs += 1
        return (time.perf_counter() - start) / runs

    def _input(self, key: str | int) -> TensorSpec:
        specs = self._artifact.inputs
        if isinstance(key, int) and 0 <= key < len(specs):
            return specs[key]
        for spec in specs:
            if spec.name == key:
                return spec
        raise InvalidInputError(f"input {key}: unknown, accepted are {', '.join(map(str, specs))}")

    def _tensor(self, array: np.ndarray, out):
        if out is None:
            return tvm.runtime.tensor(array, self._device)
        out.copyfrom(array)
        return out


def _to_numpy(value) -> np.ndarray:
    return value.numpy() if isinstance(value, tvm.runtime.Tensor) else np.asarray(value)
