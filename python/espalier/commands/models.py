"""From the options of a command line to a module, a plan and a calibration."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espalier.core.calibration import Calibration
from espalier.core.errors import InvalidInputError, InvalidModelError
from espalier.core.plan import Plan
from espalier.pass_context import PREFIX, PassContext

from .output import Steps

_SHAPES = re.compile(r"shapes=\{'([^']*)': \(([\d, ]*)\)\}")
"""What the importer asks of a Python program, see `_as_option` for the command line's word for it."""


@dataclass(frozen=True)
class PlanOptions:
    """What the options say of a plan; None where one was not given. Fields are named as the flags of PassContext."""

    plan: Path | None = None
    density: float | None = None
    granularity: int | None = None
    placement: str | None = None
    weights: str | None = None
    activations: str | None = None
    sparsity: float | None = None
    winograd: bool | None = None
    calibration: Path | None = None
    records: Path | None = None

    def context(self) -> PassContext:
        """The pass context with these flags; it reads and checks the files that they name."""
        return PassContext(config={PREFIX + name: value for name, value in vars(self).items() if value is not None})


def model_file(model: Path) -> Path:
    """The ONNX file that is meant: the file itself, or that of a bundled network's name if there is no such file."""
    from espalier.frontend import bundled

    return model if model.exists() else bundled.MODELS.get(str(model), model)


def read_model(model: Path, shapes: Sequence[str]):
    """The IRModule of an ONNX file or a bundled network; shapes: texts such as "x=1,3,224,224"."""
    import espalier

    try:
        return espalier.from_onnx(model_file(model), _parse_shapes(shapes))
    except InvalidModelError as error:
        raise InvalidModelError(_SHAPES.sub(_as_option, str(error))) from None


def calibrate(
    mod,
    context: PassContext,
    steps: Steps,
    ranges: str = "mse",
    gates_from: Calibration | None = None,
    plan: Plan | None = None,
):
    """The calibration that the flags hold, or one fitted on the inputs that they hold, or None.

    ranges, gates_from: as for `espalier.calibrate`. plan: in the place of the flags'.
    """
    from espalier import api

    inputs = context.calibration_inputs()
    if context.calibration() is not None or inputs is None:
        return context.calibration()
    steps.begin("calibrating")
    return api.calibrate(mod, inputs, plan or context.plan(), progress=steps.part, ranges=ranges, gates_from=gates_from)


def _as_option(found: re.Match) -> str:
    return f"--shape {found[1]}={found[2].replace(' ', '').rstrip(',')}"


def _parse_shapes(texts: Sequence[str]) -> Mapping[str, tuple[int, ...]]:
    shapes = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        try:
            shapes[name] = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            name = ""
        if not name:
            raise InvalidInputError(f"--shape {text}: accepted is NAME=SIZES, such as x=1,3,224,224")
    return shapes
