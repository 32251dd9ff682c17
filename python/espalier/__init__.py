"""Espalier: dynamic channel pruning and nonuniform quantization, compiled with Apache TVM.

In short:

    mod = espalier.from_onnx("model.onnx")
    plan = espalier.Plan(density=0.5)
    calibration = espalier.calibrate(mod, inputs, plan)
    artifact = espalier.build(mod, target="llvm", plan=plan, calibration=calibration)
    y = artifact(x)
"""

from __future__ import annotations

import importlib
import sys
import types

_HOMES = {
    "from_onnx": ".frontend",
    "from_torch": ".frontend",
    "build": ".api",
    "calibrate": ".api",
    "layer_names": ".api",
    "load": ".api",
    "tune": ".tuning.tune",
    "set_threads": ".measure.threads",
    "PassContext": ".pass_context",
    "Plan": ".core.plan",
    "Calibration": ".core.calibration",
    "Gate": ".core.calibration",
    "Artifact": ".core.artifact",
    "Measurement": ".core.measurement",
    "EspalierError": ".core.errors",
    "InvalidModelError": ".core.errors",
    "UnsupportedOpError": ".core.errors",
    "InvalidPlanError": ".core.errors",
    "InvalidInputError": ".core.errors",
    "UnsupportedTargetError": ".core.errors",
    "InfeasibleDesignError": ".core.errors",
    "ToolNotFoundError": ".core.errors",
    "CorruptArtifactError": ".core.errors",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


class _Package(types.ModuleType):
    """Importing the submodule `espalier.build` must not put it in the place of the function `espalier.build`."""

    def __setattr__(self, name: str, value) -> None:
        if name not in _HOMES or not isinstance(value, types.ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
