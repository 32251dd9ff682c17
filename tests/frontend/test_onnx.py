"""espalier.frontend.onnx: names, constants, meaning, and every bad model."""

import numpy as np
import onnx
import pytest
import tvm
from onnx import TensorProto, helper, numpy_helper
from tvm import relax

from espalier.core import ir_names
from espalier.core.errors import InvalidInputError, InvalidModelError, UnsupportedOpError
from espalier.frontend import from_onnx
from espalier.frontend.layer_names import unique

from ..models import ModelBuilder, depthwise_net, onnxruntime_outputs, plain_net, residual_net


def variable_names(mod: tvm.IRModule) -> list[str]:
    return [binding.var.name for block in mod["main"].body.blocks for binding in block.bindings]


def layer_names(mod: tvm.IRModule) -> list[str]:
    return [name for name in variable_names(mod) if not name.startswith(("lv", "gv"))]


def test_pads_with_zeros_are_the_operator_of_that_name():
    b = ModelBuilder()
    b.weights |= {"widths": np.array([0, 1, 2, 0, 0, 0, 1, 3]), "value": np.float32(1)}
    zeros = from_onnx(b.model([1, 3, 8, 8], b.node("Pad", "x", "widths")))
    assert "R.nn.pad(" in zeros.script()
    ones = from_onnx(b.model([1, 3, 8, 8], b.node("Pad", "x", "widths", "value")))
    assert "R.nn.pad(" not in ones.script()


def run(mod: tvm.IRModule, *inputs: np.ndarray):
    machine = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
    return machine["main"](*map(tvm.runtime.tensor, inputs)).numpy()


def assert_same_as_onnxruntime(model: onnx.ModelProto, mod: tvm.IRModule, shape=(1, 3, 8, 8)) -> None:
    x = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    np.testing.assert_allclose(run(mod, x), onnxruntime_outputs(model, x=x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "layers"),
    [
        (plain_net, ["conv0", "conv1", "fc"]),
        (residual_net, ["stem", "block.conv1", "block.conv2", "block.shortcut", "fc"]),
        (depthwise_net, ["stem", "depthwise", "pointwise", "fc"]),
    ],
)
def test_meaning_and_layer_names(build, layers):
    model = build()
    mod = from_onnx(model)
    assert layer_names(mod) == layers
    assert [parameter.name for parameter in mod["main"].params] == ["x"]
    assert list(mod.attrs[ir_names.OUTPUT_NAMES]) == [model.graph.output[0].name]
    assert_same_as_onnxruntime(model, mod)


def test_path_and_unchanged_proto(tmp_path):
    model = plain_net()
    before = model.SerializeToString()
    onnx.save(model, tmp_path / "model.onnx")
    assert layer_names(from_onnx(tmp_path / "model.onnx")) == layer_names(from_onnx(str(tmp_path / "model.onnx")))
    from_onnx(model)
    assert model.SerializeToString() == before


def test_names_fall_back_to_the_node_then_to_the_operator():
    b = ModelBuilder()
    y = b.node("Conv", "x", b.weight("w0", 4, 3, 1, 1), name="/features/Conv")
    y = b.node("Conv", y, b.weight("w1", 4, 4, 1, 1))
    y = b.node("Conv", b.node("Relu", y), b.weight("w2", 4, 4, 1, 1))
    assert layer_names(from_onnx(b.model([1, 3, 4, 4], y))) == ["/features/Conv", "Conv_1", "Conv_2"]


def test_shared_weights_get_different_names():
    b = ModelBuilder()
    y = b.conv("x", "conv", 3, 3)
    y = b.node("Conv", b.relu(y), "conv.weight", "conv.bias", pads=[1] * 4)
    assert layer_names(from_onnx(b.model([1, 3, 4, 4], y))) == ["conv", "conv_1"]
    assert unique(["a", "a_1", "a", "a"]) == ["a", "a_1", "a_2", "a_3"]


def test_product_of_two_activations_is_named_and_weights_are_not_mixed_up():
    b = ModelBuilder()
    query = b.node("MatMul", "x", b.weight("q.weight", 8, 8))
    key = b.node("MatMul", "x", b.weight("k.weight", 8, 8))
    product = b.node("MatMul", b.node("Transpose", key, perm=[1, 0]), query, name="scores")
    model = b.model([4, 8], product)
    mod = from_onnx(model)
    assert layer_names(mod) == ["q", "k", "scores"]
    assert_same_as_onnxruntime(model, mod, (4, 8))


def test_float16_weights_behind_casts():
    model = plain_net()
    nodes = []
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
        nodes.append(helper.make_node("Cast", [tensor.name], [f"{tensor.name}_f32"], to=TensorProto.FLOAT))
    for node in model.graph.node:
        names = {tensor.name for tensor in model.graph.initializer}
        node.input[:] = [f"{name}_f32" if name in names else name for name in node.input]
    nodes += list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    mod = from_onnx(model)
    assert layer_names(mod) == ["conv0", "conv1", "fc"]
    assert "astype" not in str(mod)
    assert_same_as_onnxruntime(model, mod)


def test_initializers_listed_among_the_inputs():
    model = plain_net()
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    mod = from_onnx(model)
    assert [parameter.name for parameter in mod["main"].params] == ["x"]
    assert_same_as_onnxruntime(model, mod)


def test_clip_with_one_bound():
    b = ModelBuilder()
    b.weights["low"] = np.float32(-0.1)
    model = b.model([1, 3, 8, 8], b.node("Clip", b.conv("x", "conv", 3, 4), "low"))
    mod = from_onnx(model)
    assert "R.clip" in mod["main"].script()
    assert_same_as_onnxruntime(model, mod)


def test_functions_inside_the_model_are_inlined():
    body = helper.make_function("local", "Act", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [])
    body.opset_import.append(helper.make_opsetid("", 17))
    b = ModelBuilder()
    y = b.conv("x", "conv", 3, 4)
    b.nodes.append(helper.make_node("Act", [y], ["y"], domain="local"))
    model = b.model([1, 3, 8, 8], "y")
    model.functions.append(body)
    model.opset_import.append(helper.make_opsetid("local", 1))
    mod = from_onnx(model)
    assert layer_names(mod) == ["conv"]
    assert_same_as_onnxruntime(model, mod)


def test_two_outputs():
    b = ModelBuilder()
    first = b.conv("x", "a", 3, 4)
    second = b.relu(first)
    mod = from_onnx(b.model([1, 3, 4, 4], second, first))
    assert list(mod.attrs[ir_names.OUTPUT_NAMES]) == [second, first]
    assert len(mod["main"].ret_ty.fields) == 2


def test_dynamic_dimension_is_bound():
    model = plain_net(batch="N")
    assert_same_as_onnxruntime(model, from_onnx(model, {"x": (2, 3, 8, 8)}), (2, 3, 8, 8))


def test_dynamic_dimension_without_binding():
    message = r"input x: dimension 0 \(N\) is dynamic; .*shapes=\{'x': \(1, 3, 8, 8\)"
    with pytest.raises(InvalidModelError, match=message):
        from_onnx(plain_net(batch="N"))


@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 4, 8, 8), (0, 3, 8, 8)])
def test_shape_that_contradicts_the_model(shape):
    with pytest.raises(InvalidInputError, match=r"input x cannot be .* accepted is \['any', 3, 8, 8\]"):
        from_onnx(plain_net(batch="N"), {"x": shape})


def test_shape_for_an_unknown_input():
    with pytest.raises(InvalidInputError, match="no input 'image', accepted are x"):
        from_onnx(plain_net(), {"image": (1, 3, 8, 8)})


def test_input_of_unknown_rank():
    model = plain_net()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(InvalidModelError, match="input x: its rank is unknown"):
        from_onnx(model)
    assert_same_as_onnxruntime(plain_net(), from_onnx(model, {"x": (1, 3, 8, 8)}))


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x08\x07"])
def test_file_that_is_no_onnx(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidModelError, match=r"not an? (valid )?ONNX") as error:
        from_onnx(path)
    assert "\n" not in str(error.value)


def test_truncated_file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(plain_net().SerializeToString()[:-100])
    with pytest.raises(InvalidModelError, match="ONNX"):
        from_onnx(path)


def test_missing_file(tmp_path):
    with pytest.raises(InvalidModelError, match="absent.onnx: cannot be read"):
        from_onnx(tmp_path / "absent.onnx")


def test_neither_path_nor_proto():
    with pytest.raises(InvalidModelError, match="got int"):
        from_onnx(3)


def test_invalid_graph():
    model = plain_net()
    model.graph.node[1].input[0] = "nowhere"
    with pytest.raises(InvalidModelError, match="not valid ONNX"):
        from_onnx(model)


def test_unsupported_operators_are_all_named():
    model = plain_net()
    model.graph.node[1].op_type, model.graph.node[1].name = "Rellu", "act0"
    model.graph.node[2].domain = "my.company"
    with pytest.raises(UnsupportedOpError) as error:
        from_onnx(model)
    message = str(error.value)
    assert "Rellu (node 'act0')" in message
    assert "my.company." in message
    assert "close: Relu" in message
    assert "Conv, " in message
    assert "\n" not in message


def test_attribute_that_the_importer_rejects_names_the_node(capfd):
    b = ModelBuilder()
    y = b.node("Upsample", "x", b.weight("scales", 4), name="up", mode="cubic")
    with pytest.raises((UnsupportedOpError, InvalidModelError), match="up|Upsample"):
        from_onnx(b.model([1, 3, 4, 4], y))
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weight_that_is_not_finite(value):
    model = plain_net()
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "conv1.weight")
    array = numpy_helper.to_array(tensor).copy()
    array[0, 0, 0, 0] = value
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    with pytest.raises(InvalidModelError, match="initializer conv1.weight: 1 of 2304 values are NaN or infinite"):
        from_onnx(model)


def test_output_shape_that_depends_on_the_data():
    b = ModelBuilder()
    output = b.node("NonZero", "x")
    model = b.model([4, 4], output)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(InvalidModelError, match="its shape depends on the data"):
        from_onnx(model)
