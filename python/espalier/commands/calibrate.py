"""`espalier calibrate`: fits gates to a network on unlabelled inputs, and observes ranges of its activations."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from espalier.core.calibration import Calibration
from espalier.core.errors import InvalidInputError, InvalidPlanError

from . import models
from .output import Outcome, steps


def run(
    model: Path,
    inputs: Path,
    output: Path,
    options: models.PlanOptions,
    shapes: Sequence[str],
    ranges: str = "mse",
    gates_from: Path | None = None,
) -> Outcome:
    """Fit a calibration and save it to one npz file.

    ranges, gates_from: as for `espalier.calibrate`, the latter as a file.
    """
    if output.is_dir():
        raise InvalidInputError(f"{output}: is a folder, accepted is the name of a file")
    context = dataclasses.replace(options, calibration=inputs).context()
    if context.calibration_inputs() is None:
        raise InvalidInputError(f"--inputs {inputs}: is a saved calibration, accepted are arrays of inputs")
    with steps(3) as bar:
        bar.begin("reading the model")
        mod = models.read_model(model, shapes)
        start = time.perf_counter()
        given = None if gates_from is None else Calibration.load(gates_from)
        calibration = models.calibrate(mod, context, bar, ranges, given)
        seconds = time.perf_counter() - start
        if not calibration.gates and not calibration.ranges:
            raise InvalidPlanError(
                "calibrate: the plan gates no layer and quantizes none, accepted is a density below 1, as "
                "--density 0.5, or quantized weights, as --weights 'uniform<8>'"
            )
        bar.begin("saving")
        calibration.save(output)
    remarks = tuple(f"  {remark}" for remark in calibration.remarks)
    return Outcome(
        {
            "calibration": str(output),
            "calibrate_s": seconds,
            "gates": sorted(calibration.gates),
            "ranges": {name: [one.low, one.high] for name, one in sorted(calibration.ranges.items())},
            "remarks": list(calibration.remarks),
        },
        (
            *remarks,
            f"{len(calibration.gates)} gates and {len(calibration.ranges)} ranges in {seconds:.1f} s, "
            f"saved in {output}",
        ),
    )
