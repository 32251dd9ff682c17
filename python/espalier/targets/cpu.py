"""CPUs: vector width and register count by instruction set, and the host's own description."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass

from tvm.target import Target, codegen

from espalier.core.errors import UnsupportedTargetError

from .tiles import may_use_tiles


@dataclass(frozen=True)
class Isa:
    """An instruction set as the kernels see it.

    lanes: float32 values in a vector register. registers: vector registers that a kernel may use.
    feature: what LLVM calls the feature that brings it ("" for the baseline). cores: that share the work.
    bfloat16: the feature that brings products of bfloat16 pairs summed in float32, "" if the target has none.
    int8: the feature that brings sums of products of bytes or of 16-bit numbers, the best one of `INT8`, or "".
    permute: the feature that brings permutations of the bytes of a vector, or "".
    tiles: the feature that brings products of tiles of bytes, or "".
    """

    name: str
    lanes: int
    registers: int
    feature: str
    cores: int = 1
    bfloat16: str = ""
    int8: str = ""
    permute: str = ""
    tiles: str = ""

    @property
    def has_vnni(self) -> bool:
        """Whether one instruction adds four products of bytes to a 32-bit sum."""
        return self.int8.endswith("vnni")


ISAS = (
    Isa("avx512", 16, 32, "avx512f"),  # Intel SDM volume 1, section 15.1: zmm0 to zmm31
    Isa("avx2", 8, 16, "avx2"),  # Intel SDM volume 1, section 14.1: ymm0 to ymm15
    Isa("neon", 4, 32, "neon"),  # Arm ARM, A1.4: V0 to V31, 128 bits
    Isa("generic", 4, 16, ""),  # SSE2: xmm0 to xmm15
)

OTHER_NAMES = ("arm64", "amd64", "i486", "i586", "i686")
"""Architectures in triples that LLVM lists under another name."""

BFLOAT16 = {"avx512": "avx512bf16"}  # Intel SDM volume 2, VDPBF16PS and VCVTNEPS2BF16
"""What an instruction set's bfloat16 extension is called, by the instruction set."""

INT8 = {"avx512": ("avx512vnni", "avx512bw"), "avx2": ("avxvnni", "avx2")}
"""Features that sum products of small integers, the best one first: VPDPBUSD, else VPMADDWD (Intel SDM volume 2)."""

PERMUTE = {"avx512": "avx512vbmi"}  # Intel SDM volume 2, VPERMB
"""What brings permutations of single bytes, by the instruction set."""

AMX = ("amx-tile", "amx-int8", "amx-bf16")
"""Tiles, and products of them."""

TILES = {"avx512": "amx-int8"}  # Intel SDM volume 1, chapter 18
"""What brings products of tiles of bytes, by the instruction set."""


def host_cpu() -> str:
    """LLVM's name of this machine's CPU."""
    return str(codegen.llvm_get_system_cpu())


def cpu_target(options: dict) -> Target:
    """An LLVM target; without "mcpu" or "mtriple" it is this machine, without "num-cores" all cores of it.

    Raises UnsupportedTargetError if TVM or LLVM does not accept an option.
    """
    options = {"num-cores": os.cpu_count() or 1, **options}
    if "mcpu" not in options and "mtriple" not in options:
        options |= {"mcpu": host_cpu(), **_refused(options.get("mattr", ()))}
    _check_triple(str(options.get("mtriple", "")))
    try:
        target = Target(options)
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise UnsupportedTargetError(f"target {options}: {_first_line(error)}") from None
    mcpu = str(target.attrs.get("mcpu", ""))
    if mcpu and not codegen.llvm_is_valid_cpu(mcpu, str(target.attrs.get("mtriple", ""))):
        raise UnsupportedTargetError(f"target llvm: mcpu {mcpu!r} is not known to LLVM, this machine is {host_cpu()!r}")
    return target


def _refused(mattr: Sequence[str]) -> dict[str, list[str]]:
    """What this machine's processor may have by its name and this process may not use, besides the given "mattr"."""
    has_tiles = AMX[0] in cpu_features(Target({"kind": "llvm", "mcpu": host_cpu()}))
    return {"mattr": [*mattr, *(f"-{name}" for name in reversed(AMX))]} if has_tiles and not may_use_tiles() else {}


def _check_triple(mtriple: str) -> None:
    """Refuse what LLVM would crash on."""
    known, arch = [str(name) for name in codegen.llvm_get_targets()], mtriple.split("-")[0]
    if mtriple and arch not in (*known, *OTHER_NAMES) and not arch.startswith(("armv", "thumbv")):
        raise UnsupportedTargetError(
            f"target llvm: mtriple {mtriple!r} is for no machine that LLVM knows, accepted are {', '.join(known)}"
        )


def isa_of(target: Target) -> Isa:
    """The widest instruction set that the target has, with its number of cores."""
    features = cpu_features(target)
    widest = next(isa for isa in ISAS if not isa.feature or isa.feature in features)
    return dataclasses.replace(widest, cores=int(target.attrs.get("num-cores", 1)), **extensions(widest, features))


def extensions(isa: Isa, features: frozenset[str]) -> dict[str, str]:
    """The fields of an instruction set that say which of its extensions are among these features."""
    wanted = {"bfloat16": (BFLOAT16.get(isa.name, ""),), "permute": (PERMUTE.get(isa.name, ""),)}
    wanted |= {"int8": INT8.get(isa.name, ()), "tiles": (TILES.get(isa.name, ""),)}
    return {key: next((name for name in names if name in features), "") for key, names in wanted.items()}


def cpu_features(target: Target) -> frozenset[str]:
    """LLVM's features of a target."""
    return frozenset(str(feature) for feature in codegen.llvm_get_cpu_features(target))


def check_runs_here(required: str) -> None:
    """Raise UnsupportedTargetError unless this process may use the instruction sets in `required`, joined by "+"."""
    present = cpu_features(cpu_target({"kind": "llvm"}))
    for name in required.split("+"):
        feature = {isa.name: isa.feature for isa in ISAS}.get(name, name)
        if feature and feature not in present:
            raise UnsupportedTargetError(f"the artifact needs {name} and this machine ({host_cpu()}) has none")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
