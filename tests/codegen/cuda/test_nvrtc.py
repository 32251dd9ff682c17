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
from espalier.codegen.cuda.kernel_objects import (
    TEMPLATES,
    Variant,
    image_of,
    include_folders,
    link,
    object_of,
    usage_of,
)
from espalier.codegen.cuda.kernels import channel_gate, channel_sums, dense_codebook, depthwise
from espalier.codegen.cuda.kernels.conv2d import TILES, Problem, Schedule, call_numbers
from espalier.codegen.cuda.kernels.epilogue import byte_end, real_end
from espalier.codegen.cuda.toolchain import run_tool
from espalier.core.errors import ToolNotFoundError
from espalier.core.integer import LayerArithmetic
from espalier.core.layers import ChannelGateSpec, Conv2dSpec, DenseSpec
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


def called(driver: Path, *calls: tuple[Path, str, list, int], fails: str = "") -> list[str]:
    """What the driver was asked to do, or the exception. calls: library, function, numbers, how many tensors."""
    command = [sys.executable, ORACLES / "call_on_a_gpu.py", *(str(one) for call in calls for one in call)]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(driver), "FAKE_DRIVER": fails}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.splitlines()


@pytest.mark.usefixtures("_without_nvcc")
def test_a_call_launches_the_kernel_through_the_driver(driver, tmp_path):
    library, variant = tmp_path / "kernels.so", dense_codebook.VARIANT
    link(str(library), [str(object_of(variant, "sm_90a"))])
    numbers = dense_codebook.codebook_numbers(SPEC, 2, np.zeros((40, 50_000), np.int8))
    (entry,) = usage_of(variant, "sm_90a")
    chunks, call = dense_codebook.chunks_of(50_000), (library, variant.name, numbers, 6)
    load, attribute, launch = called(driver, call)
    image = load.removeprefix("load ELF ")
    assert attribute == f"attribute 8 {chunks * 32} 0"
    assert launch == f"launch {entry} of {image} 2 2 1 256 {chunks * 32} 0x1000"
    failed = called(driver, call, fails="load 209")
    assert failed[-1] == "this library has no code for this GPU; compile for its arch (espalier doctor)"
    assert called(driver, call, fails="launch 2")[-1] == "CUDA: out of memory"
    assert called(tmp_path / "nowhere", call) == ["NVIDIA's driver was not found (libcuda.so.1)"]


def images_and_kernels(lines: list[str]) -> list[tuple[str, str, str]]:
    """Of each load and the launch behind it: the image that was loaded, and the one launched from with the kernel."""
    loads = [line.split()[2] for line in lines if line.startswith("load")]
    launches = [line.split()[1:4:2] for line in lines if line.startswith("launch")]
    return [(load, image, kernel) for load, (kernel, image) in zip(loads, launches, strict=True)]


@pytest.mark.usefixtures("_without_nvcc")
def test_each_function_of_a_library_launches_its_own_kernel(driver, tmp_path):
    """Two tiles of one format: all that differs between their objects is in the machine code."""
    library, tiles = tmp_path / "kernels.so", TILES[2:4]
    variants = [tile.variant("float16") for tile in tiles]
    link(str(library), [str(object_of(one, "sm_90a")) for one in variants])
    problem = Problem("float16", (1, 64, 8, 8), (1, 64, 8, 8), (1, 1))
    end = real_end(Conv2dSpec("conv", ("x", "weight")), 64, "float32")
    calls = [
        (library, one.name, call_numbers(problem, Schedule(tile), (), end), 3) for one, tile in zip(variants, tiles)
    ]
    lines = called(driver, *calls)
    first, second = images_and_kernels(lines)
    assert first[0] == first[1] != second[0] == second[1]
    for (_, _, kernel), one in zip((first, second), variants):
        assert kernel in usage_of(one, "sm_90a")
    assert first[2] != second[2]
    grids = [line.split()[4:9] for line in lines if line.startswith("launch")]
    assert [grid[0] for grid in grids] == ["1", "2"]
    assert [int(grid[-1]) for grid in grids] == [one.shared_bytes for one in variants]


@pytest.mark.usefixtures("_without_nvcc")
def test_each_library_of_a_process_launches_its_own_kernel(driver, tmp_path):
    variant, numbers = dense_codebook.VARIANT, dense_codebook.codebook_numbers(SPEC, 1, np.zeros((32, 64), np.int8))
    calls = [(tmp_path / f"{arch}.so", variant.name, numbers, 6) for arch in ("sm_80", "sm_90a")]
    for library, *_ in calls:
        link(str(library), [str(object_of(variant, library.stem))])
    first, second = images_and_kernels(called(driver, *calls))
    assert first[0] == first[1] != second[0] == second[1]


def calls_of_every_template() -> dict[str, tuple[Variant, list, int, int]]:
    """By template: a variant, the numbers of a call, how many tensors it takes, its dynamic shared memory."""
    dense = np.zeros((32, 48 << 10), np.int8)
    real, bytes_ = Conv2dSpec("conv", ("x", "weight")), {"format": "int8", "integer": LayerArithmetic(0)}
    depthwise_spec = Conv2dSpec("dw", ("x", "weight", "bias", "multiplier"), groups=16, out_format="uint8", **bytes_)
    gate = ChannelGateSpec("gate", "boost", 4, 8)
    shape = (1, 16, 8, 8)
    conv = call_numbers(Problem("float16", shape, shape, (1, 1)), Schedule(TILES[3]), (), real_end(real, 16, "float32"))
    depthwise_numbers = depthwise.depthwise_numbers(
        depthwise_spec, shape, (16, 1, 1, 1), shape, ("bias",), byte_end(depthwise_spec, 16, 16, "wide")
    )
    most = channel_gate.gate_numbers(gate, shape, 32, (1, 1, 16), 2)[:-1] + [48 << 10]
    return {
        "conv2d.cu": (TILES[3].variant("float16"), conv, 3, TILES[3].shared_bytes),
        "depthwise.cu": (depthwise.variant_of(depthwise_spec), depthwise_numbers, 5, 0),
        "channel_sums.cu": (
            channel_sums.variant_of("float16"),
            channel_sums.sums_numbers(gate, shape, "float16", 2),
            2,
            channel_sums.SHARED_BYTES,
        ),
        "channel_gate.cu": (channel_gate.variant_of(gate), most, 7, 48 << 10),
        "dense_codebook.cu": (dense_codebook.VARIANT, dense_codebook.codebook_numbers(SPEC, 1, dense), 6, 48 << 10),
    }


@pytest.mark.parametrize("template", sorted(path.name for path in TEMPLATES.glob("*.cu") if path.stem != "fixed_call"))
@pytest.mark.usefixtures("_without_nvcc")
def test_every_template_compiles_and_launches(template, driver, tmp_path):
    """48 KiB of dynamic shared memory have to be asked for: with static memory a block has more."""
    variant, numbers, tensors, shared_bytes = calls_of_every_template()[template]
    library = tmp_path / "kernels.so"
    link(str(library), [str(object_of(variant, "sm_90a"))])
    lines = called(driver, (library, variant.name, numbers, tensors))
    assert lines[0].startswith("load ELF")
    kernel, _, _, *shape = lines[-1].split()[1:]
    assert f"{len(variant.kernel)}{variant.kernel}" in kernel
    assert (int(shape[-3]), int(shape[-2])) == (variant.threads, shared_bytes)
    asked = [f"attribute 8 {shared_bytes} 0"] if shared_bytes >= 48 << 10 else []
    assert lines[1:-1] == asked


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
