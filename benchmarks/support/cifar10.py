"""CIFAR-10 from the data folder of the benchmarks; the accepted forms are in `espalier.training.cifar10`."""

from __future__ import annotations

import numpy as np

from espalier.core.errors import InvalidInputError
from espalier.frontend.bundled import normalise
from espalier.training import cifar10

from . import data_folder

__all__ = ["load_test", "load_train", "normalise", "top1"]


def load_test() -> tuple[np.ndarray, np.ndarray]:
    """The test set: images uint8 [10000, 32, 32, 3], labels uint8 [10000]."""
    return _with_advice(cifar10.load_test)


def load_train(limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The first `limit` of 50,000 training images: uint8 [N, 32, 32, 3], labels uint8 [N]."""
    return _with_advice(cifar10.load_train, limit)


def _with_advice(load, *arguments) -> tuple[np.ndarray, np.ndarray]:
    try:
        return load(data_folder(), *arguments)
    except InvalidInputError as error:
        raise InvalidInputError(f"{error}; set ESPALIER_DATA to the folder that holds one of them") from None


def top1(artifact, images: np.ndarray, labels: np.ndarray, batch: int) -> float:
    """Percent of the images, as far as they are whole batches, whose largest output is their label."""
    count = len(images) // batch * batch
    logits = np.concatenate([artifact(images[i : i + batch]) for i in range(0, count, batch)])
    return float(100 * np.mean(logits.argmax(axis=1) == labels[:count]))
