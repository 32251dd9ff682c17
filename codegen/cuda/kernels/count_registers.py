"""Writes registers.json: what ptxas takes for every tile that the analytic rule chooses among, on every architecture.

`python -m espalier.codegen.cuda.kernels.count_registers [ARCH ...]` where nvcc is, after a change of the convolution's
template, of its tiles or of the compiler; it takes a minute for each architecture.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from espalier.targets.gpu import ARCHS, Gpu, gpu_of_arch

from ..kernel_objects import KernelUsage, include_folders, usages_in
from ..toolchain import run_tool
from .conv2d import NUMBERS, Numbers, Tile, tiles_of
from .legal_tiles import MOST_REGISTERS, REGISTERS, has_memory


def source_of(numbers: Numbers, tiles: Iterable[Tile]) -> str:
    """C++ with the convolution of each tile, and no calls of them."""
    lines = ['#include "conv2d.cuh"', f"using Numbers = espalier::{numbers.cpp};"]
    for tile in tiles:
        kernel = f"espalier::conv2d<Numbers, espalier::Tile<{', '.join(map(str, dataclasses.astuple(tile)))}>>"
        lines.append(f"template __global__ void {kernel}(espalier::Convolution, Numbers::End);")
    return "\n".join([*lines, ""])


def mangled(tile: Tile) -> str:
    """The tile in the name of a compiled kernel."""
    return "TileI" + "".join(f"Li{number}E" for number in dataclasses.astuple(tile)) + "E"


def registers_with_spilled(usage: KernelUsage) -> int:
    """Registers of a thread; of one that has all there are, with what is spilled besides, 4 bytes each.

    With fewer of them ptxas parks a register now and then of its own accord, so that an SM has room for a block more.
    """
    spilled = -(-usage.spill_bytes // 4) if usage.registers >= MOST_REGISTERS else 0
    return usage.registers + spilled


def compiled(source: str, arch: str, image: Path) -> Mapping[str, KernelUsage]:
    """What each kernel of a source uses, by its mangled name; its machine code is written to `image`.

    Raises ToolNotFoundError if nvcc is missing or fails.
    """
    file = image.with_suffix(".cu")
    file.write_text(source)
    includes = [text for one in include_folders() for text in ("-I", one)]
    options = ["-std=c++17", "-O3", "-Xptxas", "-v", "--cubin", f"-arch={arch}", *includes]
    return usages_in(run_tool("nvcc", *options, str(file), "-o", str(image)))


def counted(numbers: Numbers, gpu: Gpu) -> Mapping[str, int]:
    """By tile; those without enough shared memory are not compiled."""
    tiles = [tile for tile in tiles_of(gpu) if has_memory(tile, gpu)]
    with tempfile.TemporaryDirectory() as folder:
        usages = compiled(source_of(numbers, tiles), gpu.arch, Path(folder) / "kernels.cubin")
    found = {tile: next(usage for name, usage in usages.items() if mangled(tile) in name) for tile in tiles}
    return {str(tile): registers_with_spilled(usage) for tile, usage in found.items()}


def main(archs: Sequence[str]) -> None:
    """Count for these architectures, one after the other; all if none is named."""
    for arch in archs or ARCHS:
        gpu, table = gpu_of_arch(arch), json.loads(REGISTERS.read_text())
        table[arch] = {one.cpp: counted(one, gpu) for one in NUMBERS.values() if one.instruction in gpu.tensor_macs}
        REGISTERS.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
