"""Without nvcc kernels are compiled by NVRTC: the same machine code, launched through the driver (here a stand-in)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from oracles import emulated
from oracles.integer_networks import IntegerNetwork
from tvm import relax

import espalier
from espalier.codegen.cuda import compilers, toolchain
from espalier.codegen.cuda.kernel_objects import Variant, image_of, include_folders, link, object_of, usage_of
from espalier.codegen.cuda.kernels import dense_codebook
from espalier.codegen.cuda.toolchain import run_tool
from espalier.core.errors import ToolNotFoundError
from espalier.core.integer import LayerArithmetic
from espalier.core.layers import DenseSpec
from espalier.ir.operators import layer_function

ORACLES = Path(emulated.__file__).parent
SPEC = DenseSpec("fc", ("x", "weight", "bias", "scale"), format="int8", integer=LayerArithmetic(0))


@pytest.fixture
def _without_nvcc(monkeypatch):
    """nvcc is hidden; cuobjdump is not."""

    def find(name: str):
        if name == "nvcc":
            raise ToolNotFoundError("nvcc: hidden")
        return toolchain.find_tool(name)

    compilers.compiler.cache_clear()
    monkeypatch.setattr(compilers, "find_tool", find)
    yield
    compilers.compiler.cache_clear()


def packed_network():
    """A dense layer of 4-bit codes between stock operators."""
    g = IntegerNetwork(1, 64)
    x = g.quantize(g.x)
    weight = relax.const(g.random.integers(-8, 8, (32, 64)).astype(np.int8))
    bias, scale = relax.const(np.ones(32, np.int32)), relax.const(np.ones(32, np.float32))
    return g.module(g.operator(layer_function(SPEC, [x, weight, bias, scale]), x, weight, bias, scale))


@pytest.mark.usefixtures("_without_nvcc")
def test_an_artifact_is_built_and_saved(tmp_path):
    espalier.build(packed_network(), "nvidia/nvidia-h100").save(tmp_path / "artifact")
    program = espalier.load(tmp_path / "artifact").program
    (launch,) = program.launches
    assert (launch.variant, program.arch) == (dense_codebook.VARIANT.name, "sm_90a")
    assert 16 < launch.registers < 128
    assert launch.spill_bytes == 0
    library = tmp_path / "artifact" / "program.so"
    needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    assert not [line for line in needed.splitlines() if "NEEDED" in line and ("cuda" in line or "tvm" in line)]


@pytest.mark.usefixtures("_without_nvcc")
def test_its_machine_code_is_for_the_architecture_and_has_the_instructions(tmp_path):
    image, log = compilers.compiler().compiled(dense_codebook.VARIANT.source, "sm_80", include_folders())
    (tmp_path / "image.cubin").write_bytes(image)
    code = run_tool("cuobjdump", "-sass", str(tmp_path / "image.cubin"))
    assert "code for sm_80" in code
    assert "IDP.4A.U8.S8" in code
    assert "PRMT" in code
    assert "0 bytes spill stores" in log


def called(driver: Path, library: Path, name: str, numbers: list, tensors: int, fails: str = "") -> list[str]:
    """What the driver was asked to do, or the exception."""
    command = [sys.executable, ORACLES / "call_on_a_gpu.py", library, name, str(numbers), str(tensors)]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(driver), "FAKE_DRIVER": fails}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.splitlines()


@pytest.mark.usefixtures("_without_nvcc")
def test_a_call_launches_the_kernel_through_the_driver(driver, tmp_path):
    library, variant = tmp_path / "kernels.so", dense_codebook.VARIANT
    link(str(library), [str(object_of(variant, "sm_90a"))])
    numbers = dense_codebook.codebook_numbers(SPEC, 2, np.zeros((40, 50_000), np.int8))
    (entry,) = usage_of(variant, "sm_90a")
    chunks = dense_codebook.chunks_of(50_000)
    assert called(driver, library, variant.name, numbers, 6) == [
        "load ELF",
        f"attribute 8 {chunks * 32} 0",
        f"launch {entry} 2 2 1 256 {chunks * 32} 0x1000",
    ]
    failed = called(driver, library, variant.name, numbers, 6, "load 209")
    assert failed[-1] == "this library has no code for this GPU; compile for its arch (espalier doctor)"
    assert called(driver, library, variant.name, numbers, 6, "launch 2")[-1] == "CUDA: out of memory"
    missing = called(tmp_path / "nowhere", library, variant.name, numbers, 6)
    assert missing == ["NVIDIA's driver was not found (libcuda.so.1)"]


@pytest.mark.usefixtures("_without_nvcc")
def test_what_does_not_compile_is_one_line():
    with pytest.raises(ToolNotFoundError, match=r"NVRTC failed: .*error") as raised:
        image_of("this is no C++", "sm_80")
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("_without_nvcc")
def test_without_either_both_install_commands_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(ToolNotFoundError, match=r'nvcc: hidden; nor is there NVRTC .*pip install "espalier\[nvrtc\]"'):
        compilers.compiler()


@pytest.mark.usefixtures("_without_nvcc")
def test_without_a_host_compiler_it_says_so(monkeypatch):
    monkeypatch.setattr(compilers.cc, "get_cc", lambda: None)
    with pytest.raises(ToolNotFoundError, match="a C.. compiler is needed to build for a GPU"):
        object_of(Variant("fixed_call.cu", "no_kernels", (("ESPALIER_CALLED", "other"),)), "sm_80")
