"""What a library is linked from: objects of single kernels, compiled once, and blocks of theirs that fit.

All tiles and formats are looked into in test_machine_code; here are one for each way to copy, and those of an sm_75.
"""

from __future__ import annotations

import re

import pytest

from espalier.codegen.cuda.kernel_objects import Variant, image_of, main_usage, object_of
from espalier.codegen.cuda.kernels.choose_schedule import resident_blocks
from espalier.codegen.cuda.kernels.conv2d import TILES, WAITING_TILES
from espalier.codegen.cuda.toolchain import run_tool
from espalier.core.errors import ToolNotFoundError
from espalier.targets.gpu import gpu_of_arch

CASES = [
    ("sm_80", TILES[3], "int8_pieces"),
    ("sm_90a", TILES[1], "float16"),
    ("sm_75", WAITING_TILES[0], "float16"),
    ("sm_75", WAITING_TILES[1], "int8_pieces"),
]
INSTRUCTIONS = {"float16": "HMMA.16816.F32", "int8_pieces": "IMMA.16832.U8.S8"}
OLDER = {"float16": "HMMA.1688.F32", "int8_pieces": "IMMA.8816.U8.S8"}
COPIES = {"int8_pieces": "LDGSTS.E.64"}
"""Of one piece; a whole chunk of 16 bytes elsewhere."""


@pytest.mark.parametrize(("arch", "tile", "number_format"), CASES, ids=str)
def test_convolution(arch, tile, number_format):
    variant, gpu = tile.variant(number_format), gpu_of_arch(arch)
    usage = main_usage(variant, arch)
    assert usage.spill_bytes == 0
    assert resident_blocks(gpu, variant.threads, usage.registers, variant.shared_bytes + usage.static_shared_bytes) >= 1
    code = run_tool("cuobjdump", "-sass", str(object_of(variant, arch)))
    assert f"code for {arch}" in code
    assert (INSTRUCTIONS if gpu.copies_async else OLDER)[number_format] in code
    assert not re.search(r"\b(LDL|STL)\b", code)  # no array in local memory
    copies = {one.removesuffix(".ZFILL") for one in re.findall(r"\bLDGSTS[.\w]*", code)}
    assert copies == ({COPIES.get(number_format, "LDGSTS.E.BYPASS.128")} if gpu.copies_async else set())
    assert re.search(r"\bLDG\.E\.\S*\b128\b", code)
    assert "LDSM.16.M88.4" in code
    assert "STG.E.128" in code


def test_what_does_not_compile_is_one_line():
    with pytest.raises(ToolNotFoundError, match="nvcc failed: .*error") as raised:
        image_of("this is no C++", "sm_80")
    assert "\n" not in str(raised.value)


def test_an_object_is_compiled_once(monkeypatch):
    variant = Variant("nothing.cu", "nothing")
    monkeypatch.setattr(Variant, "source", property(lambda _: "void nothing() {}\n"))
    first = object_of(variant, "sm_80")
    monkeypatch.setattr("espalier.codegen.cuda.compilers.run_tool", None)
    assert object_of(variant, "sm_80") == first
