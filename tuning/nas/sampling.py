"""Networks of a space that are fine-tuned, so that a search can predict what fine-tuning makes of all others."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from espalier.core.architecture import Architecture, ArchitectureSpace, work_of
from espalier.core.errors import InvalidInputError
from espalier.core.files import claimed, sha256_of
from espalier.targets.boards import KIND

from .evaluators import SupernetAccuracy
from .fine_tuning import FineTuning
from .joint_space import FORMATS, Candidate, stage_plan
from .supernet_networks import SupernetNetworks
from .tuned_networks import TunedNetwork, TunedNetworks

TABLE, LOCK, RESULT = "networks.json", "lock", "tuned.json"

DRAWN = 1000
"""Networks from which those to train are chosen."""

FEW_BITS = FORMATS[KIND]
"""Half of the networks are also trained in formats that are drawn from these for each stage."""


def spread(space: ArchitectureSpace, count: int, seed: int) -> list[Architecture]:
    """Networks evenly spread over the logarithm of multiply-accumulates, from the smallest to the largest.

    Their order is such that the first few are spread evenly too. Raises InvalidInputError for less than two.
    """
    if count < 2:
        raise InvalidInputError(f"sampling: got {count} networks, accepted are 2 or more")
    random = np.random.default_rng(seed)
    drawn = list(dict.fromkeys([space.smallest, space.largest, *(space.sample(random) for _ in range(DRAWN))]))
    logs = np.log([work_of(one)[0] for one in drawn])
    chosen: list[Architecture] = []
    for middle in np.linspace(logs.min(), logs.max(), count):
        order = np.abs(logs - middle).argsort(kind="stable")
        chosen += next(([drawn[number]] for number in order if drawn[number] not in chosen), [])
    return [chosen[number] for number in sorted(range(len(chosen)), key=_mirrored)]


def _mirrored(number: int) -> float:
    """The binary digits of a number behind the point, the last one first: van der Corput's sequence."""
    value, place = 0.0, 0.5
    while number:
        value, place, number = value + place * (number & 1), place / 2, number >> 1
    return value


@dataclass(frozen=True)
class Sampling:
    """Networks at work. folder: of the results, a file for each network, and of the table of all.

    Several processes may share the folder: each trains what no other one does. A kill loses no finished epoch. A table
    alone, of an earlier run elsewhere, is gone on from too.
    """

    networks: SupernetNetworks
    tuned: FineTuning
    folder: Path
    command: str

    def run(self, count: int, seed: int, tell: Callable[[int, int, str], None]) -> TunedNetworks:
        """Train what is not there yet of `count` networks, and write the table of all that are.

        tell: is told how many of how many are done, and what is done now. Raises InvalidInputError for a folder whose
        networks were trained otherwise.
        """
        random, chosen = np.random.default_rng(seed), spread(self.networks.space, count, seed)
        plans = [random.choice(FEW_BITS, len(one.stages)).tolist() for one in chosen]
        table = self._table()
        for number, architecture in enumerate(chosen):
            with claimed(self.folder / str(architecture) / LOCK) as is_mine:
                path = self.folder / str(architecture) / RESULT
                if is_mine and not any(one.architecture == str(architecture) for one in self._table().networks):
                    weights = plans[number] if number.bit_count() % 2 else None  # as many small as large, early as late
                    found = self._trained(architecture, weights, partial(tell, number, count))
                    self._empty().with_more([*found]).write(path)
            table = self._table()
            table.write(self.folder / TABLE)
        return table

    def _table(self) -> TunedNetworks:
        """Of all results that are there, those of an earlier table first."""
        table, earlier = self._empty(), self.folder / TABLE
        for path in [*([earlier] if earlier.is_file() else []), *sorted(self.folder.glob(f"*/{RESULT}"))]:
            found = TunedNetworks.read(path)
            for name in ("supernet", "training", "images"):
                if getattr(found, name) != getattr(table, name):
                    raise InvalidInputError(
                        f"sampling {path}: its {name} is {getattr(found, name)!r}, now {getattr(table, name)!r}; give "
                        "the same or another folder"
                    )
            table = table.with_more([one for one in found.networks if one not in table.networks])
        return table

    def _empty(self) -> TunedNetworks:
        split = self.networks.split
        images = f"{len(split.search[1])} {split.origin}"
        return TunedNetworks(sha256_of(self.networks.weights), self.tuned.words, images, self.command)

    def _trained(self, architecture: Architecture, few_bits, tell: Callable[[str], None]) -> Iterator[TunedNetwork]:
        """In float32, and in the formats of its stages if there are any."""
        plain = ("float32",) * len(architecture.stages)
        for weights in [plain, *([tuple(few_bits)] if few_bits else [])]:
            plan = stage_plan(architecture, weights)
            before = SupernetAccuracy(self.networks).evaluate(Candidate(architecture, plan, {}))["accuracy"].number
            after = self.tuned.accuracy(architecture, plan, tell)
            date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes")
            yield TunedNetwork(str(architecture), weights, round(before, 6), round(after, 6), date)
