"""tvm.relay and tvm.contrib.graph_executor, as scripts written for Relay use them."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax, relay
from tvm.contrib import graph_executor

from espalier.api import load
from espalier.codegen.cpu.program import CpuProgram
from espalier.core.artifact import Artifact, TensorSpec
from espalier.core.errors import CorruptArtifactError, EspalierError, InvalidInputError, UnsupportedTargetError
from espalier.core.plan import Plan
from espalier.frontend import from_onnx
from espalier.pass_context import PassContext
from espalier.relay_library import Library

from .models import ModelBuilder, depthwise_net, onnxruntime_outputs, plain_net, residual_net

SHAPE = (1, 3, 8, 8)


def plain_program(mod: tvm.IRModule) -> CpuProgram:
    """What TVM alone makes of a module; lets these tests look at the front door without our compiler."""
    return CpuProgram(tvm.compile(mod, "llvm"), "generic")


@pytest.fixture(scope="module")
def two_outputs():
    b = ModelBuilder()
    first = b.conv("x", "conv", 3, 4)
    return b.model(SHAPE, b.relu(first), first)


@pytest.fixture(scope="module")
def library(two_outputs):
    outputs = tuple(TensorSpec(output.name, (1, 4, 8, 8), "float32") for output in two_outputs.graph.output)
    program = plain_program(from_onnx(two_outputs))
    return Library(Artifact(program, (TensorSpec("x", SHAPE, "float32"),), outputs, {"kind": "llvm"}, Plan()))


@pytest.fixture
def module(library):
    return graph_executor.GraphModule(library["default"](tvm.cpu()))


@pytest.fixture
def x():
    return np.random.default_rng(1).uniform(-1, 1, SHAPE).astype(np.float32)


def assert_outputs(module, model, x):
    for index, expected in enumerate(onnxruntime_outputs(model, x=x)):
        np.testing.assert_allclose(module.get_output(index).numpy(), expected, rtol=1e-4, atol=1e-5)


# The graph executor.


def test_set_run_get(module, two_outputs, x):
    module.set_input("x", x)
    module.run()
    assert_outputs(module, two_outputs, x)


@pytest.mark.parametrize("convert", [np.asarray, tvm.runtime.tensor])
def test_inputs_by_number_by_keyword_and_at_run(module, two_outputs, x, convert):
    for give in (
        lambda: module.set_input(0, convert(x)),
        lambda: module.set_input(x=convert(x)),
        lambda: module.run(x=convert(x)),
    ):
        give()
        module.run()
        assert_outputs(module, two_outputs, x)


def test_inputs_are_copied(module, two_outputs, x):
    module.set_input("x", x)
    before = x.copy()
    x[:] = 0
    module.run()
    assert_outputs(module, two_outputs, before)
    np.testing.assert_array_equal(module.get_input("x").numpy(), before)


def test_numbers_of_inputs_and_outputs(module):
    assert (module.get_num_inputs(), module.get_num_outputs()) == (1, 2)
    assert (module.get_input_index("x"), module.get_input_index("y")) == (0, -1)


def test_output_into_a_tensor(module, two_outputs, x):
    module.run(x=x)
    out = tvm.runtime.tensor(np.zeros((1, 4, 8, 8), np.float32))
    assert module.get_output(1, out) is out
    np.testing.assert_array_equal(out.numpy(), module.get_output(1).numpy())


def test_benchmark(module):
    result = module.benchmark(tvm.cpu(), repeat=3, number=2)
    assert len(result.results) == 3
    assert 0 < result.min <= result.median <= result.max
    longer = module.benchmark(tvm.cpu(), repeat=1, number=1, min_repeat_ms=20)
    assert len(longer.results) == 1
    with pytest.raises(InvalidInputError, match="benchmark: got ext_dev"):
        module.benchmark(tvm.ext_dev())


def test_bad_inputs(module, x):
    for name, value, message in (
        ("y", x, r"input y: unknown, accepted are x float32 \[1, 3, 8, 8\]"),
        (3, x, "input 3: unknown"),
        ("x", x[:, :2], r"input x: got float32 \[1, 2, 8, 8\], accepted is float32 \[1, 3, 8, 8\]"),
        ("x", x.astype(np.float64), "input x: got float64"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            module.set_input(name, value)


def test_too_early(module, x):
    with pytest.raises(InvalidInputError, match="output 0: not computed yet"):
        module.get_output(0)
    with pytest.raises(InvalidInputError, match="input x: missing"):
        module.run()
    with pytest.raises(InvalidInputError, match="input x: not set yet"):
        module.get_input("x")
    module.run(x=x)
    with pytest.raises(InvalidInputError, match="output 2: accepted are 0 to 1"):
        module.get_output(2)


def test_module_of_something_else(library):
    with pytest.raises(InvalidInputError, match=r'accepted is lib\["default"\]\(device\)'):
        graph_executor.GraphModule(library)


# The library.


def test_unknown_function_and_device(library):
    with pytest.raises(InvalidInputError, match="no function 'main', accepted is 'default'"):
        library["main"]
    with pytest.raises(UnsupportedTargetError, match="compiled for llvm, got the device cuda"):
        library["default"](tvm.cuda())


def test_library_file_survives_a_move(library, two_outputs, x, tmp_path):
    library.export_library(tmp_path / "written" / "lib.so")
    assert [path.name for path in (tmp_path / "written").iterdir()] == ["lib.so"]
    moved = shutil.move(tmp_path / "written" / "lib.so", tmp_path / "moved.so")
    loaded = tvm.runtime.load_module(str(moved))
    module = graph_executor.GraphModule(loaded["default"](tvm.cpu()))
    module.run(x=x)
    assert_outputs(module, two_outputs, x)
    assert loaded.artifact.outputs == library.artifact.outputs
    assert loaded.artifact.profile(x, repeats=1).latency_s > 0


def test_library_file_is_exported_and_saved_again(library, x, tmp_path):
    library.export_library(tmp_path / "lib.so")
    loaded = tvm.runtime.load_module(str(tmp_path / "lib.so"))
    loaded.export_library(tmp_path / "again.so")
    assert (tmp_path / "again.so").read_bytes() == (tmp_path / "lib.so").read_bytes()
    loaded.artifact.save(tmp_path / "saved")
    for ours, theirs in zip(load(tmp_path / "saved")(x), library.artifact(x), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_library_file_that_was_written_again(library, x, tmp_path):
    b = ModelBuilder()
    program = plain_program(from_onnx(b.model(SHAPE, *[b.conv("x", name, 3, 4) for name in ("one", "other")])))
    other = Library(dataclasses.replace(library.artifact, program=program))
    for written in (library, other, library):
        written.export_library(tmp_path / "lib.so")
        loaded = tvm.runtime.load_module(str(tmp_path / "lib.so")).artifact
        for ours, theirs in zip(loaded(x), written.artifact(x), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_library_file_for_another_instruction_set_is_refused_when_it_runs(library, x, tmp_path):
    there = dataclasses.replace(library.artifact.program, isa="sve9")
    Library(dataclasses.replace(library.artifact, program=there)).export_library(tmp_path / "lib.so")
    module = graph_executor.GraphModule(tvm.runtime.load_module(str(tmp_path / "lib.so"))["default"](tvm.cpu()))
    with pytest.raises(UnsupportedTargetError, match="needs sve9 and this machine"):
        module.run(x=x)


def test_other_libraries_are_loaded_as_before(library, tmp_path):
    path = tmp_path / "plain.so"
    library.artifact.program.executable.export_library(str(path))
    assert isinstance(tvm.runtime.load_module(str(path)), tvm.runtime.Module)
    with pytest.raises(ValueError, match="cannot find file"):
        tvm.runtime.load_module(str(tmp_path / "absent.so"))


def test_damaged_manifest(library, tmp_path):
    path = tmp_path / "lib.so"
    library.export_library(path)
    content = bytearray(path.read_bytes())
    content[-40] = 0
    path.write_bytes(content)
    with pytest.raises(CorruptArtifactError, match="lib.so: its manifest is damaged"):
        tvm.runtime.load_module(str(path))


def test_wrong_ending_and_target_without_a_library(library, tmp_path):
    with pytest.raises(InvalidInputError, match="ending '.tar', accepted is .so"):
        library.export_library(tmp_path / "lib.tar")
    artifact = Artifact(object(), (), (), {"kind": "ext_dev"}, Plan())
    with pytest.raises(UnsupportedTargetError, match="ext_dev gives no shared library"):
        Library(artifact).export_library(tmp_path / "lib.so")
    assert not list(tmp_path.iterdir())


# The importers.


def test_from_onnx_returns_weights_apart():
    mod, params = relay.frontend.from_onnx(plain_net(batch="N"), {"x": SHAPE})
    assert set(params) == set(ModelNames.plain)
    assert [parameter.name for parameter in mod["main"].params] == ["x", *params]
    frozen, nothing = relay.frontend.from_onnx(plain_net(), freeze_params=True)
    assert nothing == {}
    assert [parameter.name for parameter in frozen["main"].params] == ["x"]


class ModelNames:
    plain = [f"{conv}.weight" for conv in ("conv0", "conv1", "fc")] + ["fc.bias"]
    plain += [f"bn{i}.{part}" for i in (0, 1) for part in ("weight", "bias", "running_mean", "running_var")]


def test_from_onnx_weights_bind_to_the_same_module():
    for build in (plain_net, residual_net, depthwise_net):
        mod, params = relay.frontend.from_onnx(build())
        bound = relax.transform.BindParams("main", params)(mod)
        tvm.ir.assert_structural_equal(bound, from_onnx(build()))


def test_from_onnx_checks_types():
    relay.frontend.from_onnx(plain_net(), {"x": SHAPE}, {"x": "float32"})
    with pytest.raises(InvalidInputError, match="input x is not int8, accepted are x float32"):
        relay.frontend.from_onnx(plain_net(), {"x": SHAPE}, {"x": "int8"})


@pytest.fixture
def torch_net():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = (torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Flatten())
    return torch.nn.Sequential(*layers, torch.nn.Linear(8 * 36, 5)).eval()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("form", ["module", "traced", "exported"])
def test_from_pytorch_names_inputs_and_weights(torch_net, form):
    import torch

    example = torch.zeros(SHAPE)
    if form == "traced":
        torch_net = torch.jit.trace(torch_net, example)
    elif form == "exported":
        torch_net = torch.export.export(torch_net, (example,))
    mod, params = relay.frontend.from_pytorch(torch_net, [("image", SHAPE)])
    assert mod["main"].params[0].name == "image"
    assert set(params) == {"0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"}
    assert {parameter.name for parameter in mod["main"].params} == {"image", *params}


@pytest.mark.parametrize(
    "infos", [[("a", SHAPE), ("b", SHAPE)], [("a", (2, 3, 8, 8))], ["a"], [("a", (SHAPE, "float99"))]]
)
def test_from_pytorch_checks_input_infos(torch_net, infos):
    import torch

    program = torch.export.export(torch_net, (torch.zeros(SHAPE),))
    with pytest.raises(InvalidInputError, match="input_infos|dtype"):
        relay.frontend.from_pytorch(program, infos)


# Build, from end to end.


def compiled(model, **flags):
    mod, params = relay.frontend.from_onnx(model, {"x": SHAPE})
    with PassContext(opt_level=3, config={f"espalier.{name}": value for name, value in flags.items()}):
        return relay.build(mod, target="llvm", params=params)


@pytest.mark.parametrize("build", [plain_net, residual_net, depthwise_net])
def test_build_and_run(build, x, tmp_path):
    model = build()
    library = compiled(model)
    library.export_library(tmp_path / "lib.so")
    for lib in (library, tvm.runtime.load_module(str(tmp_path / "lib.so"))):
        module = graph_executor.GraphModule(lib["default"](tvm.cpu()))
        module.set_input("x", x)
        module.run()
        assert_outputs(module, model, x)


def test_build_from_pytorch(torch_net, x):
    import torch

    traced = torch.export.export(torch_net, (torch.zeros(SHAPE),))
    mod, params = relay.frontend.from_pytorch(traced, [("image", SHAPE)])
    library = relay.build(mod, target="llvm", params=params)
    module = graph_executor.GraphModule(library["default"](tvm.cpu()))
    module.run(image=x)
    with torch.no_grad():
        expected = torch_net(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(module.get_output(0).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_build_with_a_density_calibrates_on_the_inputs(x):
    inputs = np.random.default_rng(2).uniform(-1, 1, (32, 3, 8, 8)).astype(np.float32)
    library = compiled(plain_net(), density=0.5, calibration=inputs)
    assert library.artifact.plan.density == 0.5
    assert any(layer.active_channels < layer.channels for layer in library.artifact.layers)
    module = graph_executor.GraphModule(library["default"](tvm.cpu()))
    module.run(x=x)
    assert np.isfinite(module.get_output(0).numpy()).all()


def test_density_without_calibration():
    with pytest.raises(EspalierError, match="calibration"):
        compiled(plain_net(), density=0.5)


def test_parameters_that_do_not_fit():
    mod, params = relay.frontend.from_onnx(plain_net())
    with pytest.raises(InvalidInputError, match="main has no parameter 'w'"):
        relay.build(mod, params={"w": params["fc.bias"]})
    with pytest.raises(InvalidInputError, match=r"fc.bias is float32 \[3\], accepted is float32 \[10\]"):
        relay.build(mod, params={**params, "fc.bias": np.zeros(3, np.float32)})


# What `import tvm` offers.


def output_of(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "autoload" not in result.stderr
    return result.stdout.strip()


def test_import_tvm_is_enough_and_light():
    heavy = output_of(
        "import sys, tvm; from tvm import relay; from tvm.contrib import graph_executor\n"
        "hasattr(relay, '__file__')\n"
        "print([m for m in ('onnx', 'espalier.relay', 'espalier.api', 'espalier.frontend') if m in sys.modules])"
    )
    assert heavy == "[]"
    assert output_of("import tvm.relay.frontend; print(tvm.relay.frontend.from_onnx.__name__)") == "from_onnx"
    assert output_of("import tvm; print(callable(tvm.contrib.graph_executor.GraphModule))") == "True"


def test_stays_away_from_a_real_relay(tmp_path):
    (tmp_path / "relay").mkdir()
    (tmp_path / "relay" / "__init__.py").write_text("real = True\n")
    found = output_of(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import importlib.machinery, importlib.util, tvm_ffi\n"
        "spec = importlib.util.find_spec('tvm'); module = importlib.util.module_from_spec(spec)\n"
        f"sys.modules['tvm'] = module; module.__path__.append({str(tmp_path)!r}); spec.loader.exec_module(module)\n"
        "import tvm.relay; print(tvm.relay.real, 'tvm.contrib.graph_executor' in sys.modules)"
    )
    assert found == "True False"
