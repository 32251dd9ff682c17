"""`espalier sample-networks`: networks of a supernet are fine-tuned, so that a search can predict accuracies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espalier.report import tables

from .output import Outcome, shares

INTERRUPTED = 130


@dataclass(frozen=True)
class SamplingOptions:
    """Arguments of the command, see `espalier.cli`."""

    space: str = "resnet-cifar"
    supernet: Path | None = None
    networks: int = 32
    fine_tune: int = 3
    teacher: str | None = None
    seed: int = 0

    @property
    def words(self) -> str:
        """The command line that matters, without the places of files."""
        teacher = f" --teacher {self.teacher.partition('=')[0]}=..." if self.teacher else ""
        return (
            f"espalier sample-networks --space {self.space} --networks {self.networks} --fine-tune {self.fine_tune}"
            f"{teacher} --seed {self.seed}"
        )


def run(folder: Path, data: Path, how: SamplingOptions) -> Outcome:
    """Train them; the outcome's exit code is 130 if it was interrupted."""
    from espalier.core.architecture import architecture_space
    from espalier.training.memory import keep_freed_memory
    from espalier.tuning.nas.accuracy_model import LEAST_NETWORKS, left_out
    from espalier.tuning.nas.fine_tuning import FineTuning
    from espalier.tuning.nas.sampling import TABLE, Sampling
    from espalier.tuning.nas.supernet_networks import Split, SupernetNetworks

    keep_freed_memory()
    networks = SupernetNetworks(architecture_space(how.space), how.supernet, Split.of(data), takes_table=False)
    teacher = FineTuning.parse_teacher(how.teacher) if how.teacher else None
    tuned = FineTuning(how.fine_tune, data, networks.weights, folder, teacher)
    sampling = Sampling(networks, tuned, folder, how.words)
    try:
        with shares("sampling") as show:
            table = sampling.run(how.networks, how.seed, lambda done, count, words: show(done / count, words))
    except KeyboardInterrupt:
        text = f"interrupted; the same command goes on from what is in {folder}"
        return Outcome({"interrupted": True, "folder": str(folder)}, (text,), INTERRUPTED)
    rows = [
        (one.architecture, ", ".join(one.weights), f"{one.supernet_accuracy:.2%}", f"{one.accuracy:.2%}")
        for one in table.networks
    ]
    lines = [tables.plain_table(("architecture", "weights", ">in the supernet", ">fine-tuned"), rows)]
    data = {"table": str(folder / TABLE), "networks": len(table.networks), "architectures": table.count}
    if table.count > LEAST_NETWORKS:
        errors = [abs(one.accuracy - told.accuracy) for one, told in zip(table.networks, left_out(table.networks))]
        data["points"] = 100 * float(np.mean(errors))
        lines.append(f"Each predicted from all others: {data['points']:.2f} points of mean absolute difference")
    return Outcome(data, (*lines, f"{folder / TABLE}: for espalier search --tuned"))
