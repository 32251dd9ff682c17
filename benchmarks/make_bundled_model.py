"""Writes the networks and the images that the package carries, and checks what the networks reach on them.

    python benchmarks/make_bundled_model.py

reads M-CifarNet's checkpoint and the CIFAR-10 test set from the data folder (see benchmarks/support), and the same
network trained with gates from benchmarks/checkpoints. Weights are stored as float16 and cast by the models, which
halves the files.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from support import cifar10
from support.checkpoints import FOLDER, Finished, finished
from support.networks import mcifarnet

from espalier.core.files import write_atomically
from espalier.frontend import bundled
from espalier.training.finished import EXAMPLE
from espalier.training.networks import MCIFARNET
from espalier.training.onnx_export import export_onnx

SAMPLE, CALIBRATION = 1000, 512
EXPECTED_TOP1, TOLERANCE = 91.92, 0.05
MAX_BYTES = 10_000_000
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")

FACTS = {
    "network": "M-CifarNet, Gao et al., Dynamic Channel Pruning: Feature Boosting and Suppression, ICLR 2019",
    "source": "trained by the authors of Espalier, 18 epochs on the CIFAR-10 training set",
    "licence": "Apache-2.0",
    "data_set": "CIFAR-10, Krizhevsky 2009",
    "input_normalisation": "(x / 255 - mean) / std for each of R, G, B",
    "input_mean": ", ".join(map(str, bundled.MEAN)),
    "input_std": ", ".join(map(str, bundled.STD)),
    "classes": ", ".join(bundled.CLASSES),
    "accuracy": f"top-1 {EXPECTED_TOP1} % on the 10,000 test images",
}


class _OnnxWriter:
    """Collects the nodes and the weights of an ONNX graph."""

    def __init__(self, state: dict[str, np.ndarray]):
        self.state = state
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, op: str, name: str, *inputs: str, output: str | None = None, **attributes) -> str:
        """Append a node; returns the name of its output."""
        output = output or name
        self.nodes.append(helper.make_node(op, list(inputs), [output], name, **attributes))
        return output

    def weight(self, name: str) -> str:
        """A weight stored as float16, as float32."""
        self.initializers.append(numpy_helper.from_array(self.state[name].astype(np.float16), f"{name}.float16"))
        return self.add("Cast", name, f"{name}.float16", to=TensorProto.FLOAT)

    def constant(self, name: str) -> str:
        """A small vector, kept as float32."""
        self.initializers.append(numpy_helper.from_array(self.state[name], name))
        return name


def to_onnx(state: dict[str, np.ndarray]) -> onnx.ModelProto:
    """M-CifarNet with the weights of `state`: "image" float32 [1, 3, 32, 32] to "logits" float32 [1, 10]."""
    writer = _OnnxWriter(state)
    x = "image"
    for i, (_, stride, padding) in enumerate(MCIFARNET):
        shape = {"kernel_shape": [3, 3], "strides": [stride] * 2, "pads": [padding] * 4}
        x = writer.add("Conv", f"conv{i}", x, writer.weight(f"conv{i}.weight"), **shape)
        norm = [writer.constant(f"bn{i}.{part}") for part in BATCH_NORM]
        x = writer.add("BatchNormalization", f"bn{i}", x, *norm, epsilon=1e-5)
        x = writer.add("Relu", f"relu{i}", x)
    x = writer.add("Flatten", "flatten", writer.add("GlobalAveragePool", "pool", x))
    linear = writer.weight("linear.weight"), writer.constant("linear.bias")
    writer.add("Gemm", "linear", x, *linear, output="logits", transB=1)

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])
    graph = helper.make_graph(writer.nodes, "mcifarnet", [image], [logits], writer.initializers)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="espalier"
    )
    model.doc_string = "\n".join(f"{key}: {value}" for key, value in FACTS.items())
    helper.set_model_props(model, FACTS)
    onnx.checker.check_model(model, full_check=True)
    return model


def gated_to_onnx(trained: Finished) -> onnx.ModelProto:
    """M-CifarNet with trained gates: inputs and outputs as of `to_onnx`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gated.onnx"
        export_onnx(trained.model, EXAMPLE, path)
        model = onnx.load(path)
    _rename(model.graph, {model.graph.input[0].name: "image", model.graph.output[0].name: "logits"})
    _store_in_half(model.graph)
    density, epochs = trained.recipe.lowest_density, trained.epochs
    facts = {
        **FACTS,
        "source": f"trained by the authors of Espalier from the dense network, {epochs} epochs with gates "
        f"(python -m espalier.training {trained.recipe.name})",
        "gates": f"channel gates of FBS, density {density:g} in every convolution",
    }
    del facts["accuracy"]
    model.doc_string = "\n".join(f"{key}: {value}" for key, value in facts.items())
    helper.set_model_props(model, facts)
    return model


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def _store_in_half(graph: onnx.GraphProto) -> None:
    """Weights of two and more dimensions as float16 with a cast behind them; the checkpoint holds such values."""
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
            values, name = numpy_helper.to_array(tensor), tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.float16"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], name, to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def top1_percent(model: onnx.ModelProto, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of uint8 images [N, 32, 32, 3] that the model classifies as `labels`, in percent."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = cifar10.normalise(images)
    logits = [session.run(None, {"image": x[i : i + 1]})[0][0] for i in range(len(x))]
    return 100 * float(np.mean(np.argmax(logits, axis=1) == labels))


def main() -> None:
    """Write the files if the dense network reaches what it should."""
    images, labels = cifar10.load_test()
    model = to_onnx({name: value.numpy() for name, value in mcifarnet().state_dict().items()})
    top1 = top1_percent(model, images, labels)
    print(f"top-1 on {len(images)} test images: {top1:.2f} %")
    if abs(top1 - EXPECTED_TOP1) > TOLERANCE:
        raise SystemExit(f"expected {EXPECTED_TOP1} +- {TOLERANCE} %; nothing was written")
    print(f"top-1 on the sample: {top1_percent(model, images[:SAMPLE], labels[:SAMPLE]):.2f} %")
    gated = gated_to_onnx(finished(FOLDER / "mcifarnet-gated.pt"))
    print(f"with gates: top-1 on {len(images)} test images: {top1_percent(gated, images, labels):.2f} %")

    buffer = io.BytesIO()
    calibration = images[SAMPLE : SAMPLE + CALIBRATION]
    np.savez_compressed(buffer, images=images[:SAMPLE], labels=labels[:SAMPLE], calibration_images=calibration)
    files = {
        bundled.model_path().name: model.SerializeToString(),
        bundled.gated_model_path().name: gated.SerializeToString(),
        "cifar10_sample.npz": buffer.getvalue(),
    }
    total = sum(map(len, files.values()))
    if total > MAX_BYTES:
        raise SystemExit(f"{total} bytes, accepted are {MAX_BYTES}; nothing was written")
    for name, content in files.items():
        write_atomically(bundled.FOLDER / name, content)
        print(f"{name}: {len(content) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
