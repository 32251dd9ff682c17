"""The pass context with our flags.

with espalier.PassContext(opt_level=3, config={"espalier.density": 0.5}):
    lib = relay.build(mod, target="llvm", params=params)
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import tvm

from .core.calibration import Calibration
from .core.errors import InvalidInputError
from .core.files import read_arrays
from .core.plan import FIELDS, Plan

PREFIX = "espalier."
FLAGS = tuple(PREFIX + name for name in ("plan", *FIELDS, "calibration", "records"))
_CALIBRATION_KEY = "header"

_active: ContextVar[tuple[PassContext, ...]] = ContextVar("espalier_pass_contexts", default=())


class PassContext:
    """TVM's pass context that also takes our flags.

    opt_level, and everything but `config`: as in tvm.transform.PassContext.
    config: TVM's own keys, and
        "espalier.plan": a Plan, its dict, or the path of its file;
        "espalier.density", ".granularity", ".placement", ".weights", ".activations", ".sparsity", ".winograd": the
            plan's default, over what the plan says; formats by their text, such as "focused<5>", and activations
            follow the weights where neither says what they are;
        "espalier.calibration": a Calibration, the path of a saved one, or inputs to calibrate on: an
            array, a dict of arrays by input name, or the path of an npz file of them;
        "espalier.records": the path of tuning records.

    Raises InvalidInputError for an unknown key or an impossible value, InvalidPlanError for the plan's.
    """

    def __init__(self, opt_level: int = 3, config: Mapping | None = None, **tvm_options):
        config = dict(config or {})
        self.flags = {key: config.pop(key) for key in list(config) if str(key).startswith(PREFIX)}
        _check_keys(self.flags, FLAGS)
        _check_keys(config, tvm.transform.PassContext.list_configs())
        self._plan = _read_plan(self.flags)
        self._calibration, self._inputs = _read_calibration(self.flags.get("espalier.calibration"))
        self._records = _read_records(self.flags.get("espalier.records"))
        try:
            self._tvm_context = tvm.transform.PassContext(opt_level, config=config, **tvm_options)
        except (AttributeError, TypeError, ValueError) as error:
            raise InvalidInputError(f"pass context: {str(error).splitlines()[0]}") from None
        self._exits: list[contextlib.ExitStack] = []

    @staticmethod
    def current() -> PassContext | None:
        """The innermost context that this thread has entered, None outside of any."""
        active = _active.get()
        return active[-1] if active else None

    def plan(self) -> Plan:
        """The plan that the flags describe; the dense one if there are none."""
        return self._plan

    def calibration(self) -> Calibration | None:
        """The fitted calibration among the flags, if there is one."""
        return self._calibration

    def calibration_inputs(self) -> np.ndarray | dict[str, np.ndarray] | None:
        """The inputs to calibrate on among the flags, if there are any: one array, or arrays by input name."""
        return self._inputs

    def records(self) -> Path | None:
        """The file of tuning records among the flags, if there is one."""
        return self._records

    def __enter__(self) -> PassContext:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._tvm_context)
            stack.callback(_active.reset, _active.set((*_active.get(), self)))
            self._exits.append(stack.pop_all())
        return self

    def __exit__(self, *error):
        return self._exits.pop().__exit__(*error)


def _check_keys(given: Iterable, accepted: Iterable[str]) -> None:
    accepted = sorted(accepted)
    for key in given:
        if key not in accepted:
            close = difflib.get_close_matches(str(key), accepted, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise InvalidInputError(f"pass context: unknown key {key!r}, accepted are {', '.join(accepted)}{meant}")


def _read_plan(flags: Mapping) -> Plan:
    plan = flags.get("espalier.plan")
    if plan is None:
        plan = Plan()
    elif isinstance(plan, str | os.PathLike):
        plan = Plan.load(plan)
    elif not isinstance(plan, Plan):
        plan = Plan.from_dict(plan)
    default = {name: flags[PREFIX + name] for name in FIELDS if PREFIX + name in flags}
    return dataclasses.replace(plan, **default)


def _read_calibration(value) -> tuple[Calibration | None, np.ndarray | dict[str, np.ndarray] | None]:
    if value is None or isinstance(value, Calibration):
        return value, None
    if isinstance(value, np.ndarray):
        return None, value
    if isinstance(value, Mapping):
        return None, {name: np.asarray(array) for name, array in value.items()}
    if not isinstance(value, str | os.PathLike):
        raise InvalidInputError(
            f"espalier.calibration: got {type(value).__name__}, "
            "accepted is an array, a dict of arrays, a Calibration or a path"
        )
    return _load_calibration(value)


def _load_calibration(path) -> tuple[Calibration | None, np.ndarray | dict[str, np.ndarray] | None]:
    """A saved Calibration, or the inputs in an npz or npy file."""
    arrays = read_arrays(path, "espalier.calibration")
    if _CALIBRATION_KEY in arrays:
        return Calibration.load(path), None
    if not arrays:
        raise InvalidInputError(f"espalier.calibration {path}: holds no array, accepted are arrays of inputs")
    return None, next(iter(arrays.values())) if len(arrays) == 1 else arrays


def _read_records(value) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike) or not Path(value).is_file():
        given = str(value) if isinstance(value, os.PathLike) else value
        raise InvalidInputError(f"espalier.records: got {given!r}, accepted is the path of a file of tuning records")
    return Path(value)
