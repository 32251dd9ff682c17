"""Integer networks in TensorFlow Lite files to ONNX with QuantizeLinear and DequantizeLinear, without TensorFlow.

Every tensor keeps its scale and zero point, every weight its codes: an ONNX runtime that fuses the pairs computes the
integer network. Images change from channels last to channels first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import tflite

from espalier.core.errors import UnsupportedOpError

from .onnx_graph import OnnxGraph, same_pads

OPERATORS = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
TYPES = {tflite.TensorType.INT8: np.int8, tflite.TensorType.INT32: np.int32}
RELU = {tflite.ActivationFunctionType.NONE: False, tflite.ActivationFunctionType.RELU: True}


def tflite_to_onnx(path: Path) -> onnx.ModelProto:
    """A network of int8 tensors; input and output float32, [1, C, H, W] and [1, classes], quantized inside."""
    return _Converter(path.stem, tflite.Model.GetRootAsModel(path.read_bytes(), 0)).convert()


class _Converter:
    def __init__(self, name: str, model):
        self.name, self.model, self.subgraph, self.graph = name, model, model.Subgraphs(0), OnnxGraph()
        self.values: dict[int, str] = {}  # by tensor, its dequantized value

    def convert(self) -> onnx.ModelProto:
        first, last = int(self.subgraph.Inputs(0)), int(self.subgraph.Outputs(0))
        _, rows, columns, channels = self._shape(first)
        self.values[first] = self._requantized(first, "image")
        for i in range(self.subgraph.OperatorsLength()):
            operator = self.subgraph.Operators(i)
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            kind = OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            write = getattr(self, f"_{kind.lower()}", None)
            if write is None:
                raise UnsupportedOpError(f"{self.name}: cannot convert operator {i}, {kind}")
            out = int(operator.Outputs(0))
            self.values[out] = self._requantized(out, write(f"{kind.lower()}{i}", operator))
        y_shape = [int(size) for size in self._shape(last)]
        return self.graph.model(self.name, "image", [1, channels, rows, columns], self.values[last], y_shape)

    def _conv_2d(self, name: str, operator) -> str:
        options = _options(operator, tflite.Conv2DOptions())
        x, weight = (int(operator.Inputs(i)) for i in range(2))
        codes = self._codes(weight).transpose(0, 3, 1, 2)
        return self._convolution(name, operator, options, self._weight(name, weight, codes, 0), codes, x, 1)

    def _depthwise_conv_2d(self, name: str, operator) -> str:
        options = _options(operator, tflite.DepthwiseConv2DOptions())
        x, weight = (int(operator.Inputs(i)) for i in range(2))
        codes = self._codes(weight).transpose(3, 0, 1, 2)
        return self._convolution(name, operator, options, self._weight(name, weight, codes, 3), codes, x, len(codes))

    def _convolution(self, name, operator, options, weight: str, codes, x: int, groups: int) -> str:
        kernel, strides = codes.shape[2:], [options.StrideH(), options.StrideW()]
        same = options.Padding() == tflite.Padding.SAME
        pads = same_pads(self._shape(x)[1:3], kernel, strides) if same else [0] * 4
        attributes = {"kernel_shape": list(kernel), "strides": strides, "pads": pads, "group": groups}
        y = self.graph.node("Conv", name, self.values[x], weight, self._bias(name, operator), **attributes)
        return self._activated(y, options)

    def _fully_connected(self, name: str, operator) -> str:
        x, weight = (int(operator.Inputs(i)) for i in range(2))
        weight, bias = self._weight(name, weight, self._codes(weight), 0), self._bias(name, operator)
        y = self.graph.node("Gemm", name, self.values[x], weight, bias, transB=1)
        return self._activated(y, _options(operator, tflite.FullyConnectedOptions()))

    def _add(self, name: str, operator) -> str:
        given = (self.values[int(operator.Inputs(i))] for i in range(2))
        return self._activated(self.graph.node("Add", name, *given), _options(operator, tflite.AddOptions()))

    def _average_pool_2d(self, name: str, operator) -> str:
        options = _options(operator, tflite.Pool2DOptions())
        kernel, strides = [options.FilterHeight(), options.FilterWidth()], [options.StrideH(), options.StrideW()]
        if options.Padding() == tflite.Padding.SAME and kernel != list(self._shape(int(operator.Inputs(0)))[1:3]):
            raise UnsupportedOpError(f"{self.name}, {name}: cannot convert a padded average")
        x = self.values[int(operator.Inputs(0))]
        return self._activated(self.graph.node("AveragePool", name, x, kernel_shape=kernel, strides=strides), options)

    def _reshape(self, name: str, operator) -> str:
        if np.prod(self._shape(int(operator.Inputs(0)))[1:3]) != 1:
            raise UnsupportedOpError(f"{self.name}, {name}: flattens several pixels, accepted is one")
        return self.graph.node("Flatten", name, self.values[int(operator.Inputs(0))])

    def _softmax(self, name: str, operator) -> str:
        return self.graph.node("Softmax", name, self.values[int(operator.Inputs(0))])

    def _activated(self, value: str, options) -> str:
        if options.FusedActivationFunction() not in RELU:
            raise UnsupportedOpError(f"{self.name}, {value}: cannot convert its activation")
        return self.graph.node("Relu", f"{value}.relu", value) if RELU[options.FusedActivationFunction()] else value

    def _requantized(self, tensor: int, value: str) -> str:
        """`value` through the tensor's int8."""
        scale, zero = self._quantization(tensor)
        parameters = [
            self.graph.constant(f"{value}.scale", scale[0]),
            self.graph.constant(f"{value}.zero", zero[0].astype(np.int8)),
        ]
        codes = self.graph.node("QuantizeLinear", f"{value}.codes", value, *parameters)
        return self.graph.node("DequantizeLinear", f"{value}.value", codes, *parameters)

    def _weight(self, name: str, tensor: int, codes: np.ndarray, dimension: int) -> str:
        """Dequantized codes; `dimension` is that of the output channels in the file, which come first in ONNX."""
        scale, zero = self._quantization(tensor)
        quantization = self.subgraph.Tensors(tensor).Quantization()
        if len(scale) > 1 and quantization.QuantizedDimension() != dimension:
            raise UnsupportedOpError(f"{self.name}, {name}: its scales are not those of output channels")
        return self._dequantized(f"{name}.weight", codes, scale, zero.astype(np.int8))

    def _bias(self, name: str, operator) -> str:
        tensor = int(operator.Inputs(2))
        scale, zero = self._quantization(tensor)
        return self._dequantized(f"{name}.bias", self._codes(tensor), scale, zero.astype(np.int32))

    def _dequantized(self, name: str, codes: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> str:
        scale, zero = (scale[0], zero[0]) if len(scale) == 1 else (scale, zero)
        constants = (("codes", codes), ("scale", scale), ("zero", zero))
        inputs = [self.graph.constant(f"{name}.{part}", value) for part, value in constants]
        return self.graph.node("DequantizeLinear", name, *inputs, **({"axis": 0} if np.ndim(scale) else {}))

    def _codes(self, tensor: int) -> np.ndarray:
        stored = self.subgraph.Tensors(tensor)
        if stored.Type() not in TYPES:
            raise UnsupportedOpError(f"{self.name}, tensor {tensor}: accepted are int8 and int32")
        data = self.model.Buffers(stored.Buffer()).DataAsNumpy()
        return np.frombuffer(data.tobytes(), TYPES[stored.Type()]).reshape(self._shape(tensor))

    def _quantization(self, tensor: int) -> tuple[np.ndarray, np.ndarray]:
        """Scales and zero points, one each or one for each channel."""
        found = self.subgraph.Tensors(tensor).Quantization()
        if found is None or not found.ScaleLength():
            raise UnsupportedOpError(f"{self.name}, tensor {tensor}: it is not quantized")
        return found.ScaleAsNumpy(), found.ZeroPointAsNumpy()

    def _shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(int(size) for size in self.subgraph.Tensors(tensor).ShapeAsNumpy())


def _options(operator, options):
    """The operator's options, read into the object of their type."""
    table = operator.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    return options
