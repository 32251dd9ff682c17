"""Every kernel as compiled for an A100 and an H100: instructions, width of copies, spills, and what a block takes."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass

import pytest

from espalier.codegen.cuda.kernel_objects import KernelUsage
from espalier.codegen.cuda.kernels import channel_gate, channel_sums, dense_codebook, depthwise
from espalier.codegen.cuda.kernels.choose_schedule import resident_blocks, resident_of
from espalier.codegen.cuda.kernels.conv2d import DEPTH_CHUNKS, NUMBERS, TILES, Numbers, Tile
from espalier.codegen.cuda.kernels.count_registers import compiled, mangled, source_of
from espalier.codegen.cuda.kernels.legal_tiles import MOST_REGISTERS, fits, registers_of
from espalier.codegen.cuda.toolchain import run_tool
from espalier.targets.gpu import gpu_of_arch

ARCHS = ("sm_80", "sm_90a")
PRODUCTS = {"float16": "HMMA.16816.F32", "tfloat32": "HMMA.1688.F32.TF32", "int8": "IMMA.16832.U8.S8"}
"""Tensor-core instructions, by a format of `Numbers.instruction`."""
COPIES = {16: "LDGSTS.E.BYPASS.128", 8: "LDGSTS.E.64"}
"""Asynchronous copies, by their bytes."""
OPCODE = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)")
"""Behind an instruction's address and its predicate."""
REST = """#include "depthwise.cuh"
#include "channel_sums.cuh"
#include "channel_gate.cuh"
#include "dense_codebook.cuh"
template __global__ void espalier::depthwise<espalier::RealTaps>(espalier::Depthwise, espalier::Epilogue);
template __global__ void espalier::depthwise<espalier::ByteTaps>(espalier::Depthwise, espalier::ByteEpilogue);
template __global__ void espalier::channel_sums<espalier::HalfDistances>(espalier::ChannelSums);
template __global__ void espalier::channel_sums<espalier::ByteDistances>(espalier::ChannelSums);
template __global__ void espalier::channel_gate<espalier::RealGate>(espalier::ChannelGate);
template __global__ void espalier::channel_gate<espalier::ByteGate>(espalier::ChannelGate);
"""
"""The kernels that are no products on tensor cores; the packed dense layer is no template."""


@dataclass(frozen=True)
class Kernel:
    """A kernel's opcodes in order, and what ptxas says of it."""

    opcodes: tuple[str, ...]
    usage: KernelUsage

    def count(self, start: str) -> dict[str, int]:
        """How often each opcode of an instruction occurs, without the note that zeros are filled in."""
        found = (one.removesuffix(".ZFILL") for one in self.opcodes if one.split(".")[0] == start)
        return dict(Counter(found))

    def loads_under_way(self, opcode: str) -> int:
        """The most loads of this kind that stand between two sums of real numbers."""
        sums = ("FADD", "FFMA")
        runs = itertools.groupby(self.opcodes, lambda one: one.split(".")[0] in sums)
        return max(sum(one == opcode for one in run) for is_sum, run in runs if not is_sum)

    def assert_in_registers(self, parked_bytes: int = 0) -> None:
        """parked_bytes: what ptxas may keep in local memory of its own accord, though it has registers left."""
        assert self.usage.spill_bytes <= parked_bytes
        if self.usage.spill_bytes:
            assert self.usage.registers < MOST_REGISTERS
            return
        assert not {one.split(".")[0] for one in self.opcodes} & {"LDL", "STL"}, "an array lies in local memory"


def kernels_in(source: str, arch: str, folder) -> dict[str, Kernel]:
    """The kernels of a source by their mangled names, compiled as those of a library are."""
    image = folder / "kernels.cubin"
    usages = compiled(source, arch, image)
    text = run_tool("cuobjdump", "-sass", str(image))
    assert f"code for {arch}" in text
    parts = (part.split("\n", 1) for part in text.split("Function : ")[1:])
    return {name.strip(): Kernel(tuple(OPCODE.findall(code)), usages[name.strip()]) for name, code in parts}


def products_of(tile: Tile, numbers: Numbers) -> int:
    """Tensor-core instructions of one tile of the depth, each for two chunks, 16 rows and 8 columns."""
    rows, columns = tile.rows // tile.warps_down // 16, tile.columns // tile.warps_across // 8
    return DEPTH_CHUNKS // 2 * rows * columns * numbers.products


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("number_format", NUMBERS)
def test_convolutions_of_every_tile(number_format, arch, tmp_path):
    numbers, gpu = NUMBERS[number_format], gpu_of_arch(arch)
    tiles = [tile for tile in TILES if fits(tile, numbers, gpu)]
    assert len(tiles) >= 5  # float32 has no room for two
    kernels, instruction = kernels_in(source_of(numbers, tiles), arch, tmp_path), PRODUCTS[numbers.instruction]
    for tile in tiles:
        (kernel,) = (one for name, one in kernels.items() if mangled(tile) in name)
        kernel.assert_in_registers(parked_bytes=4)
        assert kernel.count(instruction.split(".")[0]) == {instruction: products_of(tile, numbers)}
        assert set(kernel.count("LDGSTS")) == {COPIES[numbers.piece_bytes]}
        assert set(kernel.count("LDSM")) == {"LDSM.16.M88.4"}
        assert {"LDG.E.128", "STG.E.128"} <= set(kernel.opcodes)  # sums of a split depth, 8 at a time
        last_copy = max(place for place, one in enumerate(kernel.opcodes) if one.startswith("LDGSTS"))
        assert last_copy < kernel.opcodes.index(instruction), "the next tile is under way while this one is multiplied"
        shared = tile.shared_bytes + kernel.usage.static_shared_bytes
        assert registers_of(tile, numbers, gpu) == kernel.usage.registers, "registers.json is of another template"
        assert (
            resident_of(tile, numbers, gpu) == resident_blocks(gpu, tile.threads, kernel.usage.registers, shared) >= 1
        )
        stores = {"STS.U16", "STS.64", "STS.U8", "STS.128"}  # the table, sums in pairs, a flag, sums of a gate
        assert set(kernel.count("STS")) <= stores, "single sums would meet in a bank"
        if numbers.products > 1:
            adds = 4 * products_of(tile, numbers) // numbers.products
            assert kernel.count("FADD")["FADD"] >= adds, "sums are kept by adds that round to nearest"


@pytest.mark.parametrize("arch", ARCHS)
def test_other_kernels(arch, tmp_path):
    kernels, gpu = kernels_in(REST, arch, tmp_path), gpu_of_arch(arch)

    def kernel(*parts: str) -> Kernel:
        (found,) = (one for name, one in kernels.items() if all(part in name for part in parts))
        found.assert_in_registers()
        return found

    def resident(kernel: Kernel, threads: int, shared_bytes: int = 0) -> int:
        return resident_blocks(gpu, threads, kernel.usage.registers, kernel.usage.static_shared_bytes + shared_bytes)

    real, byte = kernel("depthwise", "RealTaps"), kernel("depthwise", "ByteTaps")
    assert (set(real.count("LDG")), set(real.count("STG"))) == ({"LDG.E", "LDG.E.128"}, {"STG.E.128"})  # LDG.E: a list
    assert "LDG.E.64" in byte.opcodes
    assert set(byte.count("STG")) == {"STG.E.64", "STG.E.128"}  # 8 bytes, or 8 real numbers
    assert min(resident(one, depthwise.THREADS) for one in (real, byte)) * depthwise.THREADS >= 1024

    for name, width in (("RealDistances", "128"), ("ByteDistances", "64")):
        sums = kernel("channel_sums", name)
        assert f"LDG.E.{width}" in sums.opcodes, "8 channels of x are read at once"
        assert resident(sums, channel_sums.THREADS, channel_sums.SHARED_BYTES) >= 4

    for name in ("RealGate", "ByteGate"):
        assert (
            resident(kernel("channel_gate", name), channel_gate.THREADS, channel_gate.shared_bytes(512, 512, 16)) >= 4
        )
    assert kernel("channel_gate", "RealGate").loads_under_way("LDG.E") >= 8, "rows of phi wait for each other"

    packed = kernel("dense_codebook")
    assert packed.count("IDP") == {"IDP.4A.U8.S8": 32}
    assert packed.count("LDG")["LDG.E.EF.128"] == 4, "codes are read 16 bytes at a time and once"
    assert "PRMT" in packed.opcodes
    assert packed.usage.registers == dense_codebook.REGISTERS
    assert resident(packed, dense_codebook.THREADS, 16384) >= 4
