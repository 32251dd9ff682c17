"""The front door of scripts written for Relay.

Where TVM has no Relay of its own, this module answers to `tvm.relay`.
"""

from __future__ import annotations

from collections.abc import Mapping

import tvm
from tvm import relax

from . import relay_frontend as frontend
from .core.errors import InvalidInputError
from .pass_context import PassContext
from .relay_library import Library

__all__ = ["build", "frontend"]


def build(mod, target="llvm", target_host=None, params: Mapping | None = None, mod_name: str = "default") -> Library:
    """Compile a module for a target.

    mod: IRModule with the function `main`, or that function.
    params: values of `main`'s parameters by name, as `relay.frontend` returned them.
    Plan, calibration and records come from the innermost `espalier.PassContext`.

    Raises InvalidInputError for a parameter that `main` does not have or whose shape or type differs.
    """
    from . import api

    mod = mod if isinstance(mod, tvm.IRModule) else tvm.IRModule({"main": mod})
    mod = _bind(mod, params or {})
    if target_host is not None:
        target = tvm.target.Target(target, host=target_host)
    context = PassContext.current() or PassContext()
    plan = context.plan()
    calibration = context.calibration()
    if calibration is None:
        inputs = context.calibration_inputs()
        calibration = None if inputs is None else api.calibrate(mod, inputs, plan)
    return Library(api.build(mod, target, plan, calibration, records=context.records()), mod_name)


def _bind(mod: tvm.IRModule, params: Mapping) -> tvm.IRModule:
    parameters = {parameter.name: parameter for parameter in mod["main"].params}
    for name, value in params.items():
        if name not in parameters:
            raise InvalidInputError(f"params: main has no parameter {name!r}, accepted are {', '.join(parameters)}")
        expected = parameters[name].ty
        shape = [int(size) for size in expected.shape]
        if list(value.shape) != shape or str(value.dtype) != str(expected.dtype):
            raise InvalidInputError(
                f"params: {name} is {value.dtype} {list(value.shape)}, accepted is {expected.dtype} {shape}"
            )
    return relax.transform.BindParams("main", dict(params))(mod) if params else mod
