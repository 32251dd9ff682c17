"""Trained networks and real images that come with the package.

Networks: M-CifarNet, the eight-convolution CIFAR-10 network of the FBS paper, trained by the authors of
Espalier (Apache-2.0). Top-1 on all 10,000 test images: 91.92 %; `benchmarks/make_bundled_model.py` wrote it.
ResNet-8 of MLPerf Tiny, quantized, with the reference weights (github.com/mlcommons/tiny, Apache-2.0) as
`benchmarks/convert_models_tiny.py` converts them; it takes pixels of 0 .. 255 as they are.
Images: CIFAR-10 test images 0..999 with labels, and 1000..1511 without, for calibration.
Normalisation: (x / 255 - MEAN) / STD per channel, with the statistics of ImageNet.

References
    Gao et al., Dynamic Channel Pruning: Feature Boosting and Suppression, ICLR 2019.
    Banbury et al., MLPerf Tiny Benchmark, NeurIPS Datasets and Benchmarks 2021.
    Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report, 2009.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

FOLDER = Path(__file__).parent
MODELS = {
    "mcifarnet": FOLDER / "mcifarnet.onnx",
    "mcifarnet-gated": FOLDER / "mcifarnet_gated.onnx",
    "resnet8-int8": FOLDER / "resnet8_int8.onnx",
}
"""The ONNX files by the names that the command line takes."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Inputs for the bundled network, normalised.

    images: float32 [1000, 3, 32, 32]; labels: int64 [1000], indices of `CLASSES`.
    calibration_images: float32 [512, 3, 32, 32], none of them among `images`.
    """

    images: np.ndarray
    labels: np.ndarray
    calibration_images: np.ndarray


def model_path() -> Path:
    """M-CifarNet's file: input "image" float32 [1, 3, 32, 32], output "logits" float32 [1, 10]."""
    return MODELS["mcifarnet"]


def gated_model_path() -> Path:
    """The same network trained with channel gates that keep half of its channels; inputs and outputs as above."""
    return MODELS["mcifarnet-gated"]


def integer_model_path() -> Path:
    """ResNet-8 in QDQ form: pixels float32 [1, 3, 32, 32] of 0 .. 255 to probabilities float32 [1, 10]."""
    return MODELS["resnet8-int8"]


def sample() -> Sample:
    """The bundled images, ready for the bundled network."""
    images, labels, calibration_images = pictures()
    return Sample(normalise(images), labels, normalise(calibration_images))


def pictures() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(images, labels, calibration_images) of `Sample`, images as they are: uint8 [N, 32, 32, 3]."""
    with np.load(FOLDER / "cifar10_sample.npz") as stored:
        return stored["images"], stored["labels"].astype(np.int64), stored["calibration_images"]


def normalise(images: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, 3] in 0..255 to float32 [N, 3, H, W], (x / 255 - MEAN) / STD."""
    scaled = (images.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
