"""What is no network of streams: every refusal says what was got and what is accepted."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from models import ModelBuilder
from onnx import TensorProto, helper
from oracles.graphs import Graph
from oracles.stream_graphs import GraphBuilder, network_of
from tvm import relax

import espalier
from espalier.codegen.fpga_hls import from_relax
from espalier.codegen.fpga_hls.folding import fold
from espalier.codegen.fpga_hls.graph import HOST
from espalier.core.errors import EspalierError, InfeasibleDesignError, UnsupportedOpError
from espalier.ir.dataflow import constant
from espalier.targets.boards import BY_NAME

BOARD = "fpga_hls/pynq-z2"
BYTES = espalier.Plan(weights="uniform<8>")
GATED = espalier.Plan(weights="uniform<8>", density=0.5, granularity=4)
MANY = np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32)


def built(mod, plan=BYTES):
    return espalier.build(mod, BOARD, plan, espalier.calibrate(mod, MANY, plan))


def built_onnx(make, plan=BYTES):
    """make: gives the outputs for a `ModelBuilder`."""
    b = ModelBuilder()
    return built(espalier.from_onnx(b.model([1, 3, 8, 8], *make(b))), plan)


def assert_refused(message: str, kind: type[EspalierError], call, *arguments) -> None:
    """With one line that begins so."""
    with pytest.raises(kind) as raised:
        call(*arguments)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def first(b: ModelBuilder) -> str:
    return b.relu(b.conv("x", "conv0", 3, 8))


def classified(b: ModelBuilder, y: str, channels: int = 8) -> list[str]:
    return [b.head(b.conv(y, "conv1", channels, 8), "fc", 8, 5)]


def pooled(b, **attributes):
    return classified(b, b.node("MaxPool", first(b), strides=[2, 2], **attributes))


def reshaped(b):
    b.weights["shape"] = np.array([1, 16, 8, 4])
    return classified(b, b.node("Reshape", first(b), "shape"), 16)


def reshaped_in_place(b, reader):
    """The channels stay, height and width do not."""
    b.weights["shape"] = np.array([1, 8, 4, 16])
    return classified(b, reader(b, b.node("Reshape", first(b), "shape")))


def joined_by(b, operator):
    y = first(b)
    return [b.head(b.node(operator, b.conv(y, "conv1", 8, 8), y), "fc", 8, 5)]


def two_ends(b):
    y = b.relu(b.conv(first(b), "conv1", 8, 8))
    return [b.head(y, "fc", 8, 5), y]


def beside_the_stream(b):
    """What is added is quantized on the host."""
    y = b.relu(b.conv(b.node("Sigmoid", "x"), "beside", 3, 8))
    return classified(b, b.relu(b.node("Add", first(b), y)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            partial(pooled, kernel_shape=[3, 3], ceil_mode=1),
            "fpga_hls, lv4: got max_pool2d with ceil_mode, accepted are windows inside of the image",
        ),
        (
            partial(pooled, kernel_shape=[2, 2], dilations=[2, 2]),
            "fpga_hls, lv4: got max_pool2d with dilation (2, 2) and layout NCHW, accepted are (1, 1) and NCHW",
        ),
        (
            reshaped,
            "fpga_hls, lv4: got a reshape from [1, 8, 8, 8] to [1, 16, 8, 4], accepted are flattening an image, and",
        ),
        (
            lambda b: reshaped_in_place(b, lambda b, y: y),
            "fpga_hls, layer 'conv1': reads [1, 8, 8, 8] reshaped to [1, 8, 4, 16], accepted are flattening an image",
        ),
        (
            lambda b: reshaped_in_place(b, lambda b, y: b.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])),
            "fpga_hls, layer 'lv5': reads [1, 8, 8, 8] reshaped to [1, 8, 4, 16], accepted are flattening an image",
        ),
        *(
            (
                partial(joined_by, operator=name),
                "fpga_hls: the host reads ['conv0', 'conv1'] of the network, accepted is one stream behind the last "
                f"layer; lv7, relax.{operator}, joins streams in floating point, accepted is add",
            )
            for name, operator in (("Sub", "subtract"), ("Mul", "multiply"))
        ),
        (
            two_ends,
            "fpga_hls: the host reads ['conv1', 's3_fc'] of the network, accepted is one stream behind the last layer",
        ),
        (
            beside_the_stream,
            "fpga_hls, layer 'conv0/add': reads lv8, which is no stream of the network's input; accepted are streams",
        ),
        (
            lambda b: classified(b, b.node("Sigmoid", first(b))),
            "fpga_hls, layer 'conv1': reads lv1, which is computed in floating point by relax.sigmoid; "
            "accepted between quantized layers are ReLU and clipping, max_pool2d, the mean over all pixels, add of two",
        ),
    ],
)
def test_what_is_no_stream_is_refused(make, message):
    assert_refused(message, UnsupportedOpError, built_onnx, make)


class QuantizedBuilder(ModelBuilder):
    """Every tensor has the scale 0.02 and the zero point 128, weights have 0.002 and 0."""

    def __init__(self):
        super().__init__()
        self.weights |= {"s": np.float32(0.02), "z": np.uint8(128), "ws": np.float32(0.002), "wz": np.int8(0)}
        self.weights["w"] = self.random.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)

    def quantized(self, x: str) -> str:
        """Quantized and dequantized again."""
        return self.node("DequantizeLinear", self.node("QuantizeLinear", x, "s", "z"), "s", "z")

    def convolved(self) -> str:
        """The input, quantized, to four channels of 6 x 6."""
        weights = self.node("DequantizeLinear", "w", "ws", "wz")
        return self.quantized(self.node("Conv", self.quantized("x"), weights))


def test_a_flattened_image_is_no_output():
    b = QuantizedBuilder()
    mod = espalier.from_onnx(b.model([1, 3, 8, 8], b.quantized(b.node("Flatten", b.convolved()))))
    message = "fpga_hls: the output is a flattened image, accepted are images and single pixels"
    assert_refused(message, UnsupportedOpError, espalier.build, mod, BOARD)


def test_two_inputs_are_refused():
    b = QuantizedBuilder()
    model = b.model([1, 3, 8, 8], b.quantized(b.node("Add", b.convolved(), "beside")))
    model.graph.input.append(helper.make_tensor_value_info("beside", TensorProto.FLOAT, [1, 4, 6, 6]))
    message = "fpga_hls: got 2 inputs and 2 of them quantized, accepted is one, quantized"
    assert_refused(message, UnsupportedOpError, espalier.build, espalier.from_onnx(model), BOARD)


def pooled_nhwc():
    graph = Graph(1, 3, 8, 8)
    y = graph.relu(graph.conv(graph.x, "conv0", 8))
    return graph.module(graph.conv(graph.emit(relax.op.nn.max_pool2d(y, (1, 2), (1, 2), layout="NHWC")), "conv1", 8))


def convolved_nhwc(is_first):
    graph = Graph(1, 3, 8, 8)
    y = graph.x if is_first else graph.relu(graph.conv(graph.x, "conv0", 3))
    y, layouts = graph.emit(relax.op.permute_dims(y, [0, 2, 3, 1])), {"data_layout": "NHWC", "kernel_layout": "HWIO"}
    y = graph.emit(relax.op.nn.conv2d(y, graph.constant(3, 3, 3, 8), padding=1, **layouts), "conv1")
    return graph.module(graph.conv(graph.emit(relax.op.permute_dims(y, [0, 3, 1, 2])), "conv2", 4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pooled_nhwc, "got max_pool2d with dilation (1, 1) and layout NHWC, accepted are (1, 1) and NCHW"),
        (partial(convolved_nhwc, True), "got conv2d with the layouts NHWC and HWIO, accepted are NCHW and OIHW"),
        (partial(convolved_nhwc, False), "got conv2d with the layouts NHWC and HWIO, accepted are NCHW and OIHW"),
    ],
)
def test_layouts_other_than_nchw_are_refused(make, message):
    with pytest.raises(UnsupportedOpError, match=r"^fpga_hls, \w+: got .*$") as raised:
        built(make())
    assert str(raised.value).endswith(message)


def depthwise_behind_a_gate(b):
    y = b.relu(b.conv(first(b), "conv1", 8, 8))
    y = b.relu(b.conv(y, "depthwise", 8, 8, group=8))
    return [b.head(b.relu(b.conv(y, "conv2", 8, 8)), "fc", 8, 5)]


def gates_beside_each_other(b):
    y = first(b)
    left, right = (b.relu(b.conv(y, name, 8, 8)) for name in ("left", "right"))
    return classified(b, b.node("Add", left, right))


@pytest.mark.parametrize(("make", "layer"), [(depthwise_behind_a_gate, "depthwise"), (gates_beside_each_other, "fc")])
def test_readers_of_all_channels_behind_a_gate_are_refused(make, layer):
    message = (
        f"fpga_hls, layer {layer!r}: reads all channels of a tensor of which a gate keeps a part, accepted are readers "
        'that skip the others; use density 1.0 for the layer before, or placement "inner"'
    )
    assert_refused(message, UnsupportedOpError, built_onnx, make, GATED)


def test_lists_of_other_gates_are_refused(monkeypatch):
    """No pass gives a layer of one stream the list of another gate: here the pooling's result is said to have none."""
    monkeypatch.setattr(from_relax._Reader, "_keep_list", lambda *_: None)
    message = "fpga_hls, layer 'conv1': reads its input by a list that joins others, accepted are lists of one gate"
    assert_refused(message, UnsupportedOpError, built_onnx, partial(pooled, kernel_shape=[2, 2]), GATED)


def test_multipliers_out_of_range_are_refused(monkeypatch):
    """No pass makes such ones: here they are read with the other sign."""
    monkeypatch.setattr(from_relax, "constant", lambda one: -constant(one))
    with pytest.raises(UnsupportedOpError) as raised:
        built_onnx(lambda b: classified(b, first(b)))
    assert str(raised.value).startswith("fpga_hls, layer 'conv0': got multipliers -")
    assert str(raised.value).endswith(", accepted are 0 .. 2^24 - 1")


def test_branches_that_are_too_unequal_are_refused():
    """Of rows of 64 K numbers, one at a time, the branch without a convolution waits for more than one."""
    builder = GraphBuilder(2, 1 << 14, 1)
    left, right = builder.fork(builder.conv(HOST, 4, kernel=(1, 1)))
    graph = builder.graph(builder.add(builder.conv(left, 4), right))
    with pytest.raises(InfeasibleDesignError) as raised:
        fold(network_of(graph), BY_NAME["zcu104"], frames_per_s=100)
    said = str(raised.value)
    assert said.startswith("stream conv0_fork_y1_to_add3_other: needs a FIFO of 65")
    assert said.endswith(" beats, accepted are 65536: its branches are too unequal")
