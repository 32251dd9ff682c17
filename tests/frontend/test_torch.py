"""espalier.frontend.torch: names, constants, meaning, and every bad module."""

import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
import tvm
from tvm import relax

from espalier.core import ir_names
from espalier.core.errors import InvalidInputError, InvalidModelError, ToolNotFoundError, UnsupportedOpError
from espalier.frontend import from_torch

torch = pytest.importorskip("torch")


class Block(torch.nn.Module):
    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(channels)
        self.shortcut = torch.nn.Conv2d(channels_in, channels, 1)

    def forward(self, x):
        return torch.relu(self.shortcut(x) + self.bn1(self.conv1(x)))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = torch.nn.Sequential(Block(3, 8), Block(8, 8))
        self.dropout = torch.nn.Dropout(0.5)
        self.fc = torch.nn.Linear(8, 5)

    def forward(self, image):
        y = self.layer1(image).mean((2, 3))
        return self.fc(self.dropout(y))


LAYERS = ["layer1.0.shortcut", "layer1.0.conv1", "layer1.1.shortcut", "layer1.1.conv1", "fc"]


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        for block in net.layer1:
            block.bn1.running_mean.uniform_(-0.3, 0.3)
            block.bn1.running_var.uniform_(0.5, 1.5)
    return net.eval()


@pytest.fixture
def x():
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def layer_names(mod: tvm.IRModule) -> list[str]:
    names = [binding.var.name for block in mod["main"].body.blocks for binding in block.bindings]
    return [name for name in names if not name.startswith(("lv", "gv"))]


def assert_same(mod: tvm.IRModule, net, x) -> None:
    machine = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
    with torch.no_grad():
        expected = net(x).numpy()
    np.testing.assert_allclose(machine["main"](tvm.runtime.tensor(x.numpy())).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_module(net, x):
    mod = from_torch(net, x)
    assert layer_names(mod) == LAYERS
    assert [parameter.name for parameter in mod["main"].params] == ["image"]
    assert len(mod.attrs[ir_names.OUTPUT_NAMES]) == 1
    assert_same(mod, net, x)


def test_example_as_array_and_as_tuple(net, x):
    assert layer_names(from_torch(net, x.numpy())) == layer_names(from_torch(net, (x,))) == LAYERS


def test_exported_program(net, x):
    mod = from_torch(torch.export.export(net, (x,)))
    assert layer_names(mod) == LAYERS
    assert_same(mod, net, x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_traced_module(net, x):
    mod = from_torch(torch.jit.trace(net, x), x)
    assert layer_names(mod) == LAYERS
    assert_same(mod, net, x)


def save_scripted(net, path) -> None:
    torch.jit.script(net).save(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_module(net, x, tmp_path):
    """Scripted by a process of its own: torch.jit.script knows operators by their id() even when they are gone, and
    may take any object of a process that has exported networks, such as a list, for one of them.
    """
    process = multiprocessing.get_context("spawn").Process(target=save_scripted, args=(net, tmp_path / "net.pt"))
    process.start()
    process.join()
    assert process.exitcode == 0
    mod = from_torch(torch.jit.load(tmp_path / "net.pt"), x)
    assert layer_names(mod) == LAYERS
    assert_same(mod, net, x)


def test_training_state_is_restored(net, x):
    net.train()
    net.layer1[0].eval()
    before = [module.training for module in net.modules()]
    mod = from_torch(net, x)
    assert [module.training for module in net.modules()] == before
    assert_same(mod, net.eval(), x)


def test_shared_module_and_functional_product():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(4, 4)

        def forward(self, x):
            y = self.fc(self.fc(x))
            return y @ y.T

    net, x = Twice().eval(), torch.rand(3, 4)
    mod = from_torch(net, x)
    assert layer_names(mod)[:2] == ["fc", "fc_1"]
    assert len(layer_names(mod)) == 3
    assert_same(mod, net, x)


def test_several_outputs(x):
    class Two(torch.nn.Module):
        def forward(self, x):
            return x + 1, torch.relu(x)

    mod = from_torch(Two(), x)
    assert len(mod["main"].ret_ty.fields) == len(mod.attrs[ir_names.OUTPUT_NAMES]) == 2


def test_missing_example(net):
    with pytest.raises(InvalidInputError, match="example is missing"):
        from_torch(net)


def test_neither_module_nor_program(x):
    with pytest.raises(InvalidModelError, match="got dict, accepted is an nn.Module"):
        from_torch({}, x)


def test_module_that_cannot_be_exported(x):
    class Branches(torch.nn.Module):
        def forward(self, x):
            return x + 1 if x.sum() > 0 else x - 1

    with pytest.raises(InvalidModelError, match="torch.export cannot trace") as error:
        from_torch(Branches(), x)
    assert "\n" not in str(error.value)


def test_wrong_example_shape(net):
    with pytest.raises(InvalidModelError, match="torch.export cannot trace"):
        from_torch(net, torch.rand(1, 4, 8, 8))


def test_unsupported_operator_is_named(x):
    class Exotic(torch.nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    with pytest.raises(UnsupportedOpError, match="special_bessel_j0.*supported are abs"):
        from_torch(Exotic(), x)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weight_that_is_not_finite(net, x, value):
    with torch.no_grad():
        net.layer1[1].conv1.weight[0, 0, 0, 0] = value
    with pytest.raises(InvalidModelError, match="weight layer1.1.conv1.weight: 1 of 576"):
        from_torch(net, x)


def test_dynamic_dimension(net, x):
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2, max=8)},))
    with pytest.raises(InvalidModelError, match="input image: dimension 0 .* is dynamic"):
        from_torch(program)


def test_without_torch(monkeypatch, net, x):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ToolNotFoundError, match=r'pip install "espalier\[torch\]"'):
        from_torch(net, x)


def test_importing_the_frontends_is_light():
    code = "import sys; before = set(sys.modules); import tvm; loaded = set(sys.modules)\n"
    code += "import espalier.frontend; print(sorted({'onnx', 'torch.export'} & (set(sys.modules) - loaded)))"
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
