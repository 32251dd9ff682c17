"""How long tuning may take: seconds or trials."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from espalier.core.errors import InvalidInputError

UNITS_S = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


@dataclass
class Budget:
    """A limit and what is spent. seconds, trials: None for no limit. Time counts from `start`.

    A batch of trials is begun only if it is likely to end in time: it takes as long as the batches before it.
    """

    seconds: float | None = None
    trials: int | None = None
    spent_trials: int = 0
    batches_s: list[float] = field(default_factory=list)
    _started: float | None = None

    @staticmethod
    def parse(text: str) -> Budget:
        """From a text such as 60s, 10m, 1h or 200trials; InvalidInputError for another one."""
        matched = _TEXT.fullmatch(text.strip().lower())
        number, unit = (float(matched[1]), matched[2]) if matched else (0.0, "")
        if number > 0 and unit in UNITS_S:
            return Budget(seconds=number * UNITS_S[unit])
        if number >= 1 and unit in ("trials", "trial") and number == int(number):
            return Budget(trials=int(number))
        raise InvalidInputError(f"budget: got {text!r}, accepted are 60s, 10m, 1h or 200trials")

    def start(self) -> None:
        """Begin to count time, unless that was done before."""
        if self._started is None:
            self._started = time.monotonic()

    def seconds_spent(self) -> float:
        """Since the start."""
        return 0.0 if self._started is None else time.monotonic() - self._started

    def batch_of(self, count: int) -> int:
        """How many of `count` trials may still be begun, 0 if there is neither time nor trials left."""
        if self.seconds is not None:
            expected = sum(self.batches_s) / len(self.batches_s) if self.batches_s else 0.0
            if self.seconds_spent() + expected > self.seconds:
                return 0
        return count if self.trials is None else max(0, min(count, self.trials - self.spent_trials))

    def spend(self, trials: int, seconds: float) -> None:
        """Count a batch that was run."""
        self.spent_trials += trials
        self.batches_s.append(seconds)

    def share_spent(self) -> float:
        """Between 0 and 1."""
        if self.trials is not None:
            return min(1.0, self.spent_trials / self.trials)
        return min(1.0, self.seconds_spent() / self.seconds) if self.seconds else 0.0
