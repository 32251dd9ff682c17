"""Other inference libraries on the same ONNX file: one interface, the same number of threads."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from espalier.core.errors import EspalierError, InvalidInputError, InvalidModelError, ToolNotFoundError

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Peer:
    """A network loaded into another library. run: inputs by name -> outputs in the model's order."""

    name: str
    version: str
    run: Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


def open_peer(name: str, model: Path, shapes: Shapes, threads: int = 1, precision: str = "float32") -> Peer:
    """Load an ONNX file into the library `name`, one of `PEERS`.

    shapes: static shape of each input, for a model that leaves them open.
    precision: "float32", or "bfloat16" where `PRECISIONS` has it.
    Raises InvalidInputError for another name or precision, ToolNotFoundError if the library is not installed,
    InvalidModelError if it cannot load the file.
    """
    if name not in PEERS:
        raise InvalidInputError(f"peer {name!r}: unknown, accepted are {', '.join(PEERS)}")
    accepted = PRECISIONS.get(name, ("float32",))
    if precision not in accepted:
        raise InvalidInputError(f"peer {name}: precision {precision!r}, accepted are {', '.join(accepted)}")
    if not Path(model).is_file():
        raise InvalidInputError(f"model {model}: no such file")
    try:
        library = importlib.import_module(name)
    except ImportError:
        raise ToolNotFoundError(f"peer {name}: not installed; pip install {name}") from None
    try:
        load = partial(PEERS[name], precision=precision) if name in PRECISIONS else PEERS[name]
        return Peer(name, library.__version__.split("-")[0], load(library, Path(model), shapes, threads))
    except EspalierError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InvalidModelError(f"peer {name}: cannot load {model} ({reason[0]})") from None


def _onnxruntime(library, model: Path, shapes: Shapes, threads: int) -> Callable:
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    session = library.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)


def _openvino(library, model: Path, shapes: Shapes, threads: int, precision: str) -> Callable:
    core = library.Core()
    network = core.read_model(str(model))
    network.reshape({name: list(shape) for name, shape in shapes.items()})
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
    }
    request = core.compile_model(network, "CPU", settings).create_infer_request()
    return lambda inputs: list(request.infer(inputs, share_inputs=True).to_tuple())


def _torch(library, model: Path, shapes: Shapes, threads: int) -> Callable:
    from .onnx_in_torch import OnnxInTorch

    library.set_num_threads(threads)
    network = OnnxInTorch(model)

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        with library.inference_mode():
            return [output.numpy() for output in network({k: library.from_numpy(v) for k, v in inputs.items()})]

    return run


PRECISIONS = {"openvino": ("float32", "bfloat16")}
"""Libraries with a choice of precision; the others compute in float32."""

PEERS = {"onnxruntime": _onnxruntime, "openvino": _openvino, "torch": _torch}
