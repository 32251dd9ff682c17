"""Networks as ONNX files, in float32 and quantized."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

INPUT = "image"


def export(module: torch.nn.Module, x: np.ndarray, path: Path) -> Path:
    """Write the network as one ONNX file with the input "image"."""
    program = torch.onnx.export(
        module, (torch.from_numpy(x),), input_names=[INPUT], dynamo=True, verbose=False, external_data=False
    )
    program.save(str(path))
    return path


def quantize(source: Path, batches: Iterable[np.ndarray], path: Path) -> Path:
    """Write the ONNX file `source` as ONNX Runtime quantizes it: QDQ form, uint8 activations, int8 weights per channel.

    batches: of the model's input shape, float32; their ranges are taken as they are.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter(batches)

        def get_next(self):
            return next(({INPUT: batch} for batch in self.left), None)

    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.onnx"
        quant_pre_process(source, ready, skip_symbolic_shape=True)
        kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True}
        quantize_static(ready, path, Reader(), quant_format=QuantFormat.QDQ, **kinds)
    return path
