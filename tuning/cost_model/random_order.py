"""A control: knows nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from espalier.core.choices import Option, Task
from espalier.core.files import write_atomically

from .analytic import read_header
from .interface import FORMAT, CostModel, Prediction, Sample, check_header


class RandomOrder(CostModel):
    """A number between 0 and 1 for each choice, the same whenever it is asked. seed: of the numbers."""

    name, suffix = "random", ".json"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, samples: Sequence[Sample]) -> None:
        """Learn nothing."""

    def predict(self, task: Task, options: Sequence[Option]) -> Prediction:
        texts = (f"{self.seed} {task.digest} {option.choice}" for option in options)
        digests = (hashlib.sha256(text.encode()).digest()[:8] for text in texts)
        return Prediction.certain(np.array([int.from_bytes(one, "little") / 2**64 for one in digests]))

    def save(self, path: Path) -> None:
        write_atomically(Path(path), json.dumps({"format": FORMAT, "model": self.name, "seed": self.seed}).encode())

    @classmethod
    def load(cls, path: Path) -> RandomOrder:
        header = read_header(path)
        check_header(path, header, {"model": cls.name})
        return cls(int(header["seed"]))
