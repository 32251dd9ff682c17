"""Keras networks in HDF5 files to ONNX, without TensorFlow: what convolutional classifiers need.

Images change from channels last to channels first. Weights keep the names of their layers.
"""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import onnx

from espalier.core.errors import UnsupportedOpError

from .onnx_graph import OnnxGraph, same_pads

ACTIVATIONS = {"relu": "Relu", "softmax": "Softmax"}


def keras_to_onnx(path: Path) -> onnx.ModelProto:
    """The network of a file that Keras 2 wrote; input float32 [1, C, H, W], pixels as the network was trained with."""
    with h5py.File(path) as file:
        layers = json.loads(file.attrs["model_config"])["config"]["layers"]
        return _Converter(file["model_weights"]).convert(path.stem, layers)


class _Converter:
    def __init__(self, weights: h5py.Group):
        self.weights, self.graph = weights, OnnxGraph()
        self.values: dict[str, str] = {}  # by layer, the value it gives
        self.sizes: dict[str, list[int]] = {}  # by layer, height and width of that

    def convert(self, name: str, layers: list[dict]) -> onnx.ModelProto:
        rows, columns, channels = layers[0]["config"]["batch_input_shape"][1:]
        for layer in layers:
            kind, own = layer["class_name"], layer["name"]
            sources = [source[0] for node in layer["inbound_nodes"] for source in node]
            write = getattr(self, f"_{kind.lower()}", None)
            if write is None:
                raise UnsupportedOpError(f"{name}, layer {own}: cannot convert {kind}")
            self.sizes[own] = self.sizes[sources[0]] if sources else [rows, columns]
            value = write(own, layer["config"], [self.values[source] for source in sources], sources)
            self.values[own] = self._activated(own, value, layer["config"].get("activation", "linear"))
        first, last = layers[0]["name"], layers[-1]
        shape = [1, last["config"]["units"]]
        return self.graph.model(name, first, [1, channels, rows, columns], self.values[last["name"]], shape)

    def _inputlayer(self, name, config, given, sources) -> str:
        return name

    def _conv2d(self, name, config, given, sources) -> str:
        kernel, strides, sizes = config["kernel_size"], config["strides"], self.sizes[name]
        pads = same_pads(sizes, kernel, strides) if config["padding"] == "same" else [0] * 4
        self.sizes[name] = _pooled(sizes, kernel, strides, pads)
        weight = self._weight(name, "kernel").transpose(3, 2, 0, 1)
        arguments = [self.graph.constant(f"{name}.weight", weight)]
        if config["use_bias"]:
            arguments.append(self.graph.constant(f"{name}.bias", self._weight(name, "bias")))
        return self.graph.node("Conv", name, *given, *arguments, kernel_shape=kernel, strides=strides, pads=pads)

    def _batchnormalization(self, name, config, given, sources) -> str:
        parts = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
        arguments = [
            self.graph.constant(f"{name}.{ours}", self._weight(name, theirs)) for ours, theirs in parts.items()
        ]
        return self.graph.node("BatchNormalization", name, *given, *arguments, epsilon=config["epsilon"])

    def _activation(self, name, config, given, sources) -> str:
        return given[0]

    def _add(self, name, config, given, sources) -> str:
        return self.graph.node("Add", name, *given)

    def _averagepooling2d(self, name, config, given, sources) -> str:
        kernel, strides = config["pool_size"], config["strides"]
        self.sizes[name] = _pooled(self.sizes[name], kernel, strides, [0] * 4)
        return self.graph.node("AveragePool", name, *given, kernel_shape=kernel, strides=strides)

    def _flatten(self, name, config, given, sources) -> str:
        if self.sizes[name] != [1, 1]:
            raise UnsupportedOpError(f"layer {name}: flattens {self.sizes[name]} pixels, accepted is one")
        return self.graph.node("Flatten", name, *given)

    def _dense(self, name, config, given, sources) -> str:
        weight = self.graph.constant(f"{name}.weight", self._weight(name, "kernel").T)
        bias = self.graph.constant(f"{name}.bias", self._weight(name, "bias"))
        return self.graph.node("Gemm", name, *given, weight, bias, transB=1)

    def _activated(self, name: str, value: str, activation: str) -> str:
        if activation == "linear":
            return value
        if activation not in ACTIVATIONS:
            raise UnsupportedOpError(f"layer {name}: cannot convert the activation {activation}")
        return self.graph.node(ACTIVATIONS[activation], f"{name}.{activation}", value)

    def _weight(self, layer: str, name: str) -> np.ndarray:
        return self.weights[layer][layer][f"{name}:0"][()]


def _pooled(sizes, kernel, strides, pads) -> list[int]:
    return [(sizes[i] + pads[i] + pads[i + 2] - kernel[i]) // strides[i] + 1 for i in range(2)]
