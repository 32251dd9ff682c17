"""The code generator's own rule: cycles of a roofline with cache levels, vector and register occupancy.

The rule is in `codegen/cpu/kernels/cost.py` and the kernels' tiles; the one number that is learned here is how long a
cycle takes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from espalier.core.choices import Option, Task
from espalier.core.errors import InvalidInputError
from espalier.core.files import read_text, write_atomically

from .interface import FORMAT, CostModel, Prediction, Sample, check_header, fitted_log_cycle_s, log_cycles

NO_CLOCK_LOG_S = -22.1
"""Before anything was measured: 4 GHz."""


class Analytic(CostModel):
    """Predicted cycles times the seconds of one."""

    name, suffix = "analytic", ".json"

    def __init__(self) -> None:
        self.log_cycle_s = NO_CLOCK_LOG_S

    def fit(self, samples: Sequence[Sample]) -> None:
        self.log_cycle_s = fitted_log_cycle_s(samples) if samples else NO_CLOCK_LOG_S

    def predict(self, task: Task, options: Sequence[Option]) -> Prediction:
        return Prediction.certain(log_cycles(options) + self.log_cycle_s)

    def save(self, path: Path) -> None:
        header = {"format": FORMAT, "model": self.name, "log_cycle_s": self.log_cycle_s}
        write_atomically(Path(path), json.dumps(header).encode())

    @classmethod
    def load(cls, path: Path) -> Analytic:
        header = read_header(path)
        check_header(path, header, {"model": cls.name})
        model = cls()
        model.log_cycle_s = float(header["log_cycle_s"])
        return model


def read_header(path: Path) -> dict:
    """The JSON object in a file; InvalidInputError if there is none."""
    try:
        content = json.loads(read_text(path, "cost model"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise InvalidInputError(f"cost model {path}: accepted is what `save` wrote")
    return content
