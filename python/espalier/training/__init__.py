"""Training networks with channel gates and quantizers, in torch, which is imported with the first function asked for.

    gated = insert_gates(network, plan, example)     # computes what the network does, until it is trained
    set_density(gated, 0.5)                          # lower it step by step while training
    mod = espalier.from_torch(gated, example)        # its gates come with it: espalier.build(mod) needs no plan
    export_onnx(gated, example, "gated.onnx")        # the same as a file, for espalier.from_onnx and other runtimes
    quantized = insert_quantizers(gated, plan, inputs)  # the same for the plan's number formats
    mod, plan, calibration = export(quantized, example)  # what espalier.build compiles to the same network

A finished training: `load_finished("mcifarnet-gated/weights.pt")`. Recipes: `python -m espalier.training --help`.
"""

from __future__ import annotations

import importlib

_HOMES = {
    "ChannelGate": "gates",
    "insert_gates": "gates",
    "set_density": "gates",
    "export_onnx": "onnx_export",
    "insert_quantizers": "quantizers",
    "IntegerNetwork": "integer_eval",
    "export": "exporting",  # a module of the name would hide the function
    "load_finished": "finished",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ..frontend.torch import require_torch

    require_torch()
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
