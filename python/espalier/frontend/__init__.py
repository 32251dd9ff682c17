"""Front ends: a trained network, in whatever form it comes, to an IRModule.

Neither torch nor onnx is imported before the function that needs it is asked for.
"""

from __future__ import annotations

import importlib

_HOMES = {"from_onnx": "onnx", "from_torch": "torch"}

__all__ = ["from_onnx", "from_torch"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
