"""Trainings that share a teacher's answers.

The images of an epoch, and how they are augmented, depend on the seed and the epoch alone (`loop`). So a teacher
answers the same to all trainings of a seed, and only the first of them has to ask it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..core.errors import InvalidInputError
from ..core.files import read_arrays, write_atomically
from .data import Images, batches_of
from .loop import Progress, Training
from .recipe import Recipe

ASKED = ("seed", "batch", "bfloat16")
"""Fields of a recipe that decide the answers, beside the teacher."""


class SharedAnswers(Training):
    """A training with a recipe that names a teacher; see `Training`.

    answers: a folder with a file for each epoch, float16 [images, classes], which is written where there is none.
    Raises InvalidInputError for a file there that holds something else.
    """

    def __init__(self, recipe: Recipe, train: Images, test: Images, start, output, answers: Path):
        super().__init__(recipe, train, test, start, output)
        self.answers, self.asked = answers, _digest(recipe, train, self.files["teacher"])

    def _epoch(self, number: int, on_batch: Callable[[Progress], None]) -> float:
        path = self.answers / f"{self.asked}-{number}.npy"
        self.known = self._read(path) if path.exists() else None
        self.told, self.place = [], 0
        loss = super()._epoch(number, on_batch)
        if self.known is None:
            write_atomically(path, _bytes_of(np.concatenate(self.told)))
        return loss

    def _taught(self, images: torch.Tensor) -> torch.Tensor:
        if self.known is None:
            found = super()._taught(images).half()
            self.told.append(found.cpu().numpy())
            return found.float()
        rows = self.known[self.place : self.place + len(images)]
        self.place += len(images)
        return torch.from_numpy(rows).to(self.device).float()

    def _read(self, path: Path) -> np.ndarray:
        images, size = len(self.train), self.recipe.batch
        found = read_arrays(path, "teacher's answers").get("")
        accepted = (min(images, batches_of(images, size) * size),)
        if found is None or found.dtype != np.float16 or found.ndim != 2 or found.shape[:1] != accepted:
            raise InvalidInputError(f"teacher's answers {path}: accepted is what a training wrote; remove the file")
        return found


def _digest(recipe: Recipe, train: Images, weights: str) -> str:
    """Of all that decides what the teacher is asked and answers. weights: the digest of the teacher's."""
    images = hashlib.sha256(train.images.cpu().numpy()).hexdigest()
    asked = [recipe.teacher[0], weights, images, *(getattr(recipe, one) for one in ASKED)]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def _bytes_of(answers: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, answers)
    return buffer.getvalue()
