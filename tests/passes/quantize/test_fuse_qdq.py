"""Networks in QDQ form give in integers what ONNX Runtime gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from models import ModelBuilder, depthwise_net, onnxruntime_outputs, plain_net, residual_net
from onnx import TensorProto, helper, numpy_helper
from oracles.graphs import specs
from oracles.integer_programs import run_program
from oracles.running import run_stock

from espalier.build import prepare
from espalier.calibration.evaluate import evaluate
from espalier.core.errors import InvalidPlanError
from espalier.core.plan import Plan
from espalier.frontend.onnx import from_onnx
from espalier.ir.rewriting import remarks_of
from espalier.passes.analysis.float_steps import float_steps
from espalier.passes.analysis.gate_sites import GateSites

RANDOM = np.random.default_rng(3)
NETS = {
    "plain": plain_net,
    "residual": residual_net,
    "depthwise": lambda: depthwise_net(size=16),
    "between": lambda: between_net(),
}


def between_net() -> onnx.ModelProto:
    """Pools, an add of what is no convolution, a strided slice with a padding, and a flatten."""
    b = ModelBuilder()
    left = b.relu(b.conv("x", "left", 3, 8))
    pooled = b.node("MaxPool", left, kernel_shape=[2, 2], strides=[2, 2])
    b.weights |= {name: np.array(value) for name, value in {"s": [0], "e": [8], "a": [1]}.items()}
    part = b.node("Slice", pooled, "s", "e", "a")
    b.weights["widths"] = np.array([0, 0, 0, 0, 0, 4, 0, 0])
    wide = b.node("Pad", part, "widths")
    y = b.conv(pooled, "right", 8, 12)
    y = b.relu(b.node("Add", wide, b.conv(b.relu(y), "last", 12, 12)))
    return b.model([1, 3, 8, 8], b.head(y, "fc", 12, 10))


def samples(model: onnx.ModelProto, count: int) -> np.ndarray:
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return RANDOM.normal(0.2, 1, (count, *shape)).astype(np.float32)


def quantized(model: onnx.ModelProto, tmp_path, **options) -> onnx.ModelProto:
    """The model as ONNX Runtime quantizes it, calibrated on random numbers."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = list(samples(model, 8))

        def get_next(self):
            return {"x": self.left.pop()} if self.left else None

    onnx.save(model, tmp_path / "float.onnx")
    quant_pre_process(tmp_path / "float.onnx", tmp_path / "ready.onnx", skip_symbolic_shape=True)
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8} | options
    quantize_static(tmp_path / "ready.onnx", tmp_path / "int8.onnx", Reader(), quant_format=QuantFormat.QDQ, **kinds)
    return onnx.load(tmp_path / "int8.onnx")


@pytest.mark.parametrize("signed", [False, True], ids=["u8", "s8"])
@pytest.mark.parametrize("per_channel", [False, True], ids=["per tensor", "per channel"])
@pytest.mark.parametrize("net", NETS)
def test_as_onnxruntime_computes_it(net, per_channel, signed, tmp_path):
    from onnxruntime.quantization import QuantType

    kind = QuantType.QInt8 if signed else QuantType.QUInt8
    model = quantized(NETS[net](), tmp_path, per_channel=per_channel, activation_type=kind)
    mod = prepare(from_onnx(model))
    assert float_steps(mod) == []
    assert {spec.format for spec in specs(mod).values()} == {"int8"}
    x = samples(model, 20)
    theirs = np.concatenate([onnxruntime_outputs(model, x=one)[0] for one in x])
    ours = np.concatenate([run_program(mod, one) for one in x])
    step = np.diff(np.unique(theirs)).min()
    assert np.abs(ours - theirs).max() <= 1.01 * step
    assert (np.abs(ours - theirs) < 0.01 * step).mean() > 0.97


def test_a_network_that_nncf_quantized():
    """Integers alone, and ONNX Runtime's logits. NNCF 3.4.0 made the file, with `separable_residual_net` of `models`:

    x = np.random.default_rng(0).standard_normal((64, 1, 3, 16, 16), np.float32)
    dataset = nncf.Dataset(list(x), lambda one: {"x": one})
    onnx.save(nncf.quantize(separable_residual_net(), dataset, subset_size=64), "nncf.onnx")
    """
    model = onnx.load(Path(__file__).with_name("nncf.onnx"))
    mod = prepare(from_onnx(model))
    assert (float_steps(mod), remarks_of(mod)) == ([], [])
    found = list(specs(mod).values())
    assert [spec.format for spec in found] == ["int8"] * 5
    assert [spec.integer.residual is not None for spec in found] == [False, False, True, False, False]
    x = samples(model, 20)
    theirs = np.concatenate([onnxruntime_outputs(model, x=one)[0] for one in x])
    ours = np.concatenate([run_program(mod, one) for one in x])
    np.testing.assert_array_equal(ours.argmax(1), theirs.argmax(1))
    # what is left is the bias of the last layer, counted in steps of its sums
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * theirs.std())


def test_names_residuals_and_the_compiled_body(tmp_path):
    model = quantized(residual_net(), tmp_path, per_channel=True)
    mod = prepare(from_onnx(model))
    found = specs(mod)
    assert set(found) == {"stem", "block.conv1", "block.conv2", "block.shortcut", "fc"}
    fused = [spec for spec in found.values() if spec.integer.residual]
    assert len(fused) == 1
    assert fused[0].integer.residual.low is not None
    x = samples(model, 1)[0]
    np.testing.assert_array_equal(run_stock(mod, x)[0], run_program(mod, x))


def handmade(nodes, weights: dict, outputs: dict) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 6, 6])],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def qdq(x: str, name: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [x, f"{name}.scale", f"{name}.zero"], [f"{name}.q"]),
        helper.make_node("DequantizeLinear", [f"{name}.q", f"{name}.scale", f"{name}.zero"], [name]),
    ]


def one_convolution(weight_zero=0, last: str | None = None, activation: str = "Relu"):
    """x -> Q/DQ -> conv with float32 weights that are quantized in the graph -> activation [-> Q/DQ]."""
    weights = {
        "in.scale": np.float32(0.02),
        "in.zero": np.uint8(110),
        "w": RANDOM.normal(0, 0.2, (8, 4, 3, 3)).astype(np.float32),
        "b": RANDOM.normal(0, 0.2, 8).astype(np.float32),
        "w8.scale": np.float32(0.005 if weight_zero == 0 else 0.001) * np.arange(1, 9, dtype=np.float32),
        "w8.zero": np.full(8, weight_zero, np.int8),
        "out.scale": np.float32(0.03),
        "out.zero": np.uint8(7),
    }
    nodes = qdq("x", "in") + qdq("w", "w8")
    for node in nodes[2:]:
        node.attribute.append(helper.make_attribute("axis", 0))
    nodes.append(helper.make_node("Conv", ["in", "w8", "b"], ["c"], pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node(activation, ["c"], ["y"]))
    if last:
        nodes += [*qdq("y", "out"), helper.make_node(last, ["out"], ["z"])]
    return handmade(nodes, weights, {"z" if last else "y": TensorProto.FLOAT})


def assert_as_onnxruntime(model, tolerance: float) -> None:
    x = samples(model, 1)[0]
    mod = prepare(from_onnx(model))
    np.testing.assert_allclose(run_stock(mod, x)[0], onnxruntime_outputs(model, x=x)[0], atol=tolerance)


def test_weights_that_are_quantized_in_the_graph():
    """As NNCF writes them. The output stays in float32, and so does what follows it."""
    model = one_convolution()
    (spec,) = specs(prepare(from_onnx(model))).values()
    assert "scale" in spec.roles
    assert spec.integer.x_zero == 110
    assert_as_onnxruntime(model, 0.02 * 0.04 / 2 + 1e-5)  # half a step of the sums, in which the bias is counted


def test_a_flattened_image_stays_in_integers():
    """The numbers of the image are those of the vector, with no quantize around the Flatten."""
    model = one_convolution(last="Flatten")
    model.graph.output.pop()
    model.graph.output.append(helper.make_tensor_value_info("d", TensorProto.FLOAT, None))
    dense = {
        "v": RANDOM.integers(-128, 128, (10, 288)).astype(np.int8),
        "v.scale": np.float32(0.002) * np.arange(1, 11, dtype=np.float32),
        "v.zero": np.zeros(10, np.int8),
    }
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in dense.items())
    model.graph.node.append(helper.make_node("DequantizeLinear", ["v", "v.scale", "v.zero"], ["vr"], axis=0))
    model.graph.node.append(helper.make_node("Gemm", ["z", "vr"], ["d"], transB=1))
    mod = prepare(from_onnx(model))
    assert [spec.format for spec in specs(mod).values()] == ["int8", "int8"]
    assert not remarks_of(mod)
    assert_as_onnxruntime(model, 0.031 * 0.02 * 128)


def test_an_activation_that_is_no_limit_stays_in_float32():
    model = one_convolution(last="Sigmoid", activation="HardSwish")
    mod = prepare(from_onnx(model))
    (spec,) = specs(mod).values()
    assert "scale" in spec.roles
    assert float_steps(mod)
    assert_as_onnxruntime(model, 0.031)


def test_weights_with_a_zero_point_stay_in_float32():
    """What does not fit int8 once the zero point is gone."""
    model = one_convolution(weight_zero=-100)
    (spec,) = specs(prepare(from_onnx(model))).values()
    assert spec.format == "float32"
    assert_as_onnxruntime(model, 1e-4)


def test_what_reads_the_numbers_themselves_keeps_its_operators():
    model = one_convolution(last="Relu")
    model.graph.output.append(helper.make_tensor_value_info("out.q", TensorProto.UINT8, None))
    x = samples(model, 1)[0]
    ours, theirs = run_stock(prepare(from_onnx(model)), x), onnxruntime_outputs(model, x=x)
    np.testing.assert_allclose(ours[0], theirs[0], atol=0.031)
    assert np.abs(ours[1].astype(int) - theirs[1]).max() <= 1


def test_a_concatenation_of_different_scales_is_said():
    b = ModelBuilder()
    b.weights |= {"s1": np.float32(0.02), "s2": np.float32(0.03), "z": np.uint8(100)}

    def through(value: str, scale: str) -> str:
        return b.node("DequantizeLinear", b.node("QuantizeLinear", value, scale, "z"), scale, "z")

    x = through("x", "s1")
    joined = b.node("Concat", x, through(b.node("MaxPool", x, kernel_shape=[1, 1]), "s2"), axis=1)
    model = b.model([1, 3, 4, 4], through(joined, "s2"))
    mod = prepare(from_onnx(model))
    assert any("concat is computed in float32" in remark for remark in remarks_of(mod))
    assert_as_onnxruntime(model, 0.031)


def added_to_a_product(operator: str, shape: list[int], bias: tuple[int, ...]) -> onnx.ModelProto:
    """x -> Q/DQ -> Conv or MatMul with int8 weights -> Add of a constant of this shape; eight channels."""
    weights = {
        "in.scale": np.float32(0.02),
        "in.zero": np.uint8(110),
        "w": RANDOM.integers(-127, 128, (8, shape[1], 3, 3) if operator == "Conv" else (shape[1], 8)).astype(np.int8),
        "w.scale": np.float32(0.002) * np.arange(1, 9, dtype=np.float32),
        "w.zero": np.zeros(8, np.int8),
        "b": RANDOM.normal(0, 1, bias).astype(np.float32),
    }
    axis, attributes = (0, {"pads": [1, 1, 1, 1]}) if operator == "Conv" else (1, {})
    nodes = [
        *qdq("x", "in"),
        helper.make_node("DequantizeLinear", ["w", "w.scale", "w.zero"], ["w.real"], axis=axis),
        helper.make_node(operator, ["in", "w.real"], ["c"], **attributes),
        helper.make_node("Add", ["c", "b"], ["y"]),
    ]
    model = handmade(nodes, weights, {"y": TensorProto.FLOAT})
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, shape))
    return model


@pytest.mark.parametrize(
    ("operator", "shape", "bias"),
    [
        ("Conv", [1, 4, 8, 8], (8,)),
        ("Conv", [1, 4, 8, 8], (8, 1)),
        ("Conv", [1, 4, 8, 1], (8,)),  # the sum is wider than the product
        ("Conv", [1, 4, 8, 8], (1, 1, 8, 1, 1)),
        ("MatMul", [8, 4], (8, 1)),
        ("MatMul", [8, 4], (1, 8, 1)),
    ],
)
def test_a_constant_along_another_axis_than_the_channels_is_no_bias(operator, shape, bias):
    model = added_to_a_product(operator, shape, bias)
    mod = prepare(from_onnx(model))
    assert [spec.format for spec in specs(mod).values()] == ["int8"]
    assert "R.add(" in mod["main"].script()
    assert_as_onnxruntime(model, 1e-4)


@pytest.mark.parametrize(
    ("operator", "shape", "bias"),
    [
        ("Conv", [1, 4, 8, 8], (8, 1, 1)),
        ("Conv", [1, 4, 8, 8], (1, 8, 1, 1)),
        ("MatMul", [8, 4], (8,)),
        ("MatMul", [8, 4], (1, 8)),
    ],
)
def test_a_constant_along_the_channels_is_a_bias(operator, shape, bias):
    model = added_to_a_product(operator, shape, bias)
    assert "R.add(" not in prepare(from_onnx(model))["main"].script()
    assert_as_onnxruntime(model, 0.02 * 0.016 / 2 + 1e-4)  # half a step of the sums, in which the bias is counted


def test_sums_beyond_int32_are_refused():
    weights = {
        "in.scale": np.float32(0.02),
        "in.zero": np.uint8(0),
        "w": np.full((1, 4, 6, 6), 127, np.int8),
        "w.scale": np.float32(1),
        "w.zero": np.int8(0),
        "b": np.full(1, 2**31 - 1, np.int32),
        "b.scale": np.float32(0.02),
        "b.zero": np.int32(0),
    }
    nodes = qdq("x", "in")
    for name in ("w", "b"):
        nodes.append(helper.make_node("DequantizeLinear", [name, f"{name}.scale", f"{name}.zero"], [f"{name}.real"]))
    nodes.append(helper.make_node("Conv", ["in", "w.real", "b.real"], ["y"], "huge"))
    with pytest.raises(InvalidPlanError, match=r"layer 'huge': its sums may reach .* accepted are sums below 2\^31"):
        prepare(from_onnx(handmade(nodes, weights, {"y": TensorProto.FLOAT})))


def test_gates_and_formats_leave_such_layers_alone(tmp_path):
    mod = from_onnx(quantized(plain_net(), tmp_path))
    plan = Plan(density=0.5, weights="uniform<4>")
    found = GateSites.of(prepare(mod), plan)
    assert found.sites == {}
    assert all("it came quantized" in remark for remark in found.remarks[:2])
    x = RANDOM.normal(size=(4, 3, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(evaluate(mod, x, plan)[0], run_program(prepare(mod), x[:1])[0])
