"""How the tests run things: a Relax module as stock TVM compiles it, one kernel, and how many cases are drawn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tvm
from hypothesis import HealthCheck, Phase, settings
from tvm import relax
from tvm.target import Target

from espalier.targets.cpu import BFLOAT16, INT8, ISAS, PERMUTE, TILES, Isa, cpu_features, cpu_target

CPUS = {
    "amx-int8": {"mcpu": "sapphirerapids"},
    "avx512bf16": {"mcpu": "cooperlake"},
    "avx512vbmi": {"mcpu": "icelake-server"},
    "avx512vnni": {"mcpu": "cascadelake"},
    "avxvnni": {"mcpu": "x86-64-v3", "mattr": ["+avxvnni"]},
    "avx512": {"mcpu": "x86-64-v4"},
    "avx2": {"mcpu": "x86-64-v3"},
}
"""LLVM's options for an instruction set or an extension; the others are what the target has anyway."""

BYTES = tuple(
    dataclasses.replace(isa, int8=int8, permute=PERMUTE.get(isa.name, "") if permute else "")
    for isa in ISAS
    for number, int8 in enumerate((*INT8.get(isa.name, ()), ""))
    for permute in ([True, False] if number == 0 and isa.name in PERMUTE else [False])
)
"""Every instruction set with every way to sum products of bytes."""

PAIRS = dataclasses.replace(ISAS[0], bfloat16=BFLOAT16[ISAS[0].name])
"""The instruction set that multiplies pairs of bfloat16."""

TILED = dataclasses.replace(BYTES[0], tiles=TILES[ISAS[0].name])
"""The instruction set that multiplies tiles of bytes."""

HERE = cpu_features(cpu_target({"kind": "llvm"}))
needs_pairs = pytest.mark.skipif(PAIRS.bfloat16 not in HERE, reason=f"this CPU has no {PAIRS.bfloat16}")
needs_tiles = pytest.mark.skipif(TILED.tiles not in HERE, reason=f"this CPU has no {TILED.tiles}")


def drawn(examples: int):
    """Settings of a hypothesis test that compiles something for every case: few cases, and none to shrink a failure."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    phases = [Phase.explicit, Phase.generate]
    return settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=checks, phases=phases)


def every_isa(test):
    """Run a test once for each instruction set, skipping those that this machine lacks."""
    cases = [
        pytest.param(
            isa,
            id=isa.name,
            marks=pytest.mark.skipif(isa.feature not in {"", *HERE}, reason=f"this CPU has no {isa.name}"),
        )
        for isa in ISAS
    ]
    return pytest.mark.parametrize("isa", cases)(test)


def every_isa_of_bytes(test):
    """As `every_isa`, for every way in which bytes are multiplied and permuted."""
    cases = [
        pytest.param(
            isa,
            id="-".join(filter(None, (isa.name, isa.int8, isa.permute))),
            marks=pytest.mark.skipif(
                not {isa.feature, isa.int8, isa.permute} <= {"", *HERE}, reason="this CPU has no such instructions"
            ),
        )
        for isa in BYTES
    ]
    return pytest.mark.parametrize("isa", cases)(test)


def run_stock(mod, *inputs: np.ndarray) -> list[np.ndarray]:
    """What `main` gives when TVM compiles the module, or one function, as it would without Espalier."""
    if isinstance(mod, relax.Function):
        mod = tvm.IRModule({"main": mod.with_attr("global_symbol", "main")})
    quickly = Target({"kind": "llvm", "opt-level": 0})
    machine = relax.VirtualMachine(tvm.compile(mod, quickly), tvm.cpu())
    results = machine["main"](*map(tvm.runtime.tensor, inputs))
    return [results.numpy()] if isinstance(results, tvm.runtime.Tensor) else [result.numpy() for result in results]


def run_kernel(kernel, isa: Isa, *inputs: np.ndarray) -> list[np.ndarray]:
    """A kernel's output buffers after a call: the arguments that follow its inputs, filled with NaN before."""
    module = tvm.IRModule({"main": kernel.with_attr("global_symbol", "main")})
    extension = next(filter(CPUS.get, (isa.tiles, isa.bfloat16, isa.permute, isa.int8, isa.name)), "")
    program = tvm.compile(module, Target({"kind": "llvm", "num-cores": 2, **CPUS.get(extension, {})}))
    buffers = kernel.params[len(inputs) :]
    outputs = [tvm.runtime.tensor(_poisoned([int(dim) for dim in one.shape], str(one.dtype))) for one in buffers]
    program.mod["main"](*map(tvm.runtime.tensor, inputs), *outputs)
    return [output.numpy() for output in outputs]


def _poisoned(shape, dtype: str) -> np.ndarray:
    poison = {"float32": np.nan, "uint16": 0x7FC0, "uint8": 0xA5}  # 0x7FC0: NaN in bfloat16
    return np.full(shape, poison.get(dtype, -12345), dtype)


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for the rounding of float32 sums."""
    assert_close_in("float32", actual, expected)


def assert_close_in(dtype: str, actual: np.ndarray, expected: np.ndarray) -> None:
    """As `assert_close`; in bfloat16 a sum near a tie may be rounded to either side."""
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(actual, expected, rtol={"float32": 1e-4, "bfloat16": 2**-7}[dtype], atol=1e-5 * scale)
