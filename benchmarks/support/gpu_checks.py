"""Small networks that reach every kernel of the CUDA backend, for `gpu/measure.py` to check against reference bodies.

Each is compiled twice: for the GPU, and, as the bodies that say what its operators mean, for any x86-64 processor with
AVX2. Both give the lists of all gates beside the result, so that samples whose gates chose otherwise can be told.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import tvm
from torch import nn
from tvm import relax

import espalier
from espalier.build import lowered
from espalier.codegen.generate import generate
from espalier.core.ir_names import CHANNEL_GATE
from espalier.core.plan import Plan
from espalier.ir.dataflow import Dataflow
from espalier.targets.resolve import resolve_target
from espalier.training.networks import BasicBlock

from .gates import random_gates
from .imagenet import unit

BATCH, CLASSES, IMAGES = 4, 10, 16
"""Samples of a run; results; and images that ranges of activations are observed on."""
HOST = {"kind": "llvm", "mcpu": "x86-64-v3"}
BYTES = {"weights": "uniform<8>", "activations": "uniform<8>"}
TOLERANCE = {"float32": 1e-4, "float16": 1e-2}
"""Of the norm of the error over that of the result: in a short format a sum near a tie is rounded to either side, and
later layers read that. Integers are exact."""


def residual() -> nn.Module:
    """A strided 7x7 stem, a pool, a block with an identity, one with a shortcut, a dense layer."""
    shortcut = unit(32, 64, 1, 2, activation=nn.Identity)
    blocks = BasicBlock(32, 32, 1, None), BasicBlock(32, 64, 2, shortcut)
    return nn.Sequential(unit(3, 32, 7, 2), nn.MaxPool2d(3, 2, 1), *blocks, *_head(64))


def mobile() -> nn.Module:
    """A stem, twice a depthwise and a pointwise convolution, a dense layer."""
    layers = [unit(3, 32, 3, activation=nn.ReLU6)]
    for c_in, c_out, stride in ((32, 64, 1), (64, 64, 2)):
        layers += [unit(c_in, c_in, 3, stride, c_in), unit(c_in, c_out, 1, activation=nn.ReLU6)]
    return nn.Sequential(*layers, *_head(64))


def _head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]


SIZES = {residual: 20, mobile: 12}
"""Rows and columns of an image."""
CHECKS: dict[str, tuple[Callable[[], nn.Module], Plan]] = {
    "residual float32, sums, lists of 16": (residual, Plan(density=0.5, granularity=16, placement="sum")),
    "residual float16, branch, lists of 8": (
        residual,
        Plan(weights="float16", density=0.5, granularity=8, placement="branch"),
    ),
    "residual float16, lists of 4": (residual, Plan(weights="float16", density=0.5, granularity=4)),
    "mobile float32": (mobile, Plan()),
    "mobile float16, lists of 8": (mobile, Plan(weights="float16", density=0.5, granularity=8)),
    "residual bytes, branch, lists of 16": (residual, Plan(**BYTES, density=0.5, granularity=16, placement="branch")),
    "residual bytes, sums, lists of 8": (residual, Plan(**BYTES, density=0.5, granularity=8, placement="sum")),
    "mobile bytes, lists of 8": (mobile, Plan(**BYTES, density=0.5, granularity=8)),
    "mobile packed in 4 bits": (mobile, Plan(weights="codebook<4>", activations="uniform<8>")),
}
"""Network and plan by name; dense ones of other formats are among `gpu_cases` and the networks that are timed."""


def check_module(name: str) -> tvm.IRModule:
    """A network as code generators get it, which gives its result and then the list of each gate."""
    make, plan = CHECKS[name]
    shape = (3, SIZES[make], SIZES[make])
    mod = espalier.from_torch(with_statistics(make, shape), np.zeros((BATCH, *shape), np.float32))
    calibration = gates_of(mod, plan)
    if plan.activations:
        images = np.random.default_rng(0).standard_normal((IMAGES, *shape), np.float32)
        calibration = espalier.calibrate(mod, images, plan, gates_from=calibration if plan.density < 1 else None)
    return with_lists(lowered(mod, plan, calibration))


def gates_of(mod: tvm.IRModule, plan: Plan) -> espalier.Calibration:
    """Random gates with saliencies of about one, which boost where they choose among groups of 8."""
    mode = "boost" if plan.granularity == 8 else "select"
    gates = random_gates(mod, plan).gates
    return espalier.Calibration(
        {name: espalier.Gate(one.phi / np.float32(len(one.phi) ** 0.5), one.rho, mode) for name, one in gates.items()}
    )


def with_statistics(make: Callable[[], nn.Module], shape: tuple[int, int, int]) -> nn.Module:
    """A module in evaluation mode whose batch norms have seen its activations, so that these stay near unit scale."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        module = make().train()
        for one in module.modules():
            if isinstance(one, nn.BatchNorm2d):
                one.momentum = None
        module(torch.randn(4, *shape))
    return module.eval()


def with_lists(mod: tvm.IRModule) -> tvm.IRModule:
    """The module whose main gives the winners of every gate after its result."""
    flow, main = Dataflow.of(mod), mod["main"]
    gates = {var for var in flow.values if (flow.layer_of(var) or [None])[0] == CHANNEL_GATE}
    lists = [
        var
        for var, value in flow.values.items()
        if isinstance(value, relax.TupleGetItem) and value.index == 1 and value.tuple_value in gates
    ]
    outputs = [relax.Var(f"winners{number}", one.ty) for number, one in enumerate(lists)]
    (block,) = main.body.blocks
    added = [relax.VarBinding(*pair) for pair in zip(outputs, lists, strict=True)]
    result = relax.Tuple([main.body.body, *outputs])
    body = relax.SeqExpr([relax.DataflowBlock([*block.bindings, *added])], result)
    types = relax.TupleType([main.ret_ty, *(one.ty for one in lists)])
    changed = mod.clone()
    changed.update_func(mod.get_global_var("main"), relax.Function(main.params, body, types, main.is_pure, main.attrs))
    return changed


def write_check(folder: Path, name: str, number: int, arch: str) -> dict:
    """A network's two libraries; its entry in bundle.json."""
    mod, (make, plan) = check_module(name), CHECKS[name]
    program = generate(mod, resolve_target({"kind": "cuda", "arch": arch}))
    program.link(folder / f"check{number}.so")
    reference = generate(mod, resolve_target(HOST), lower=False)
    reference.executable.export_library(str(folder / f"check{number}-host.so"))
    return {
        "name": name,
        "file": f"check{number}.so",
        "reference": f"check{number}-host.so",
        "shape": [BATCH, 3, SIZES[make], SIZES[make]],
        "tolerance": tolerance_of(plan),
        "variants": sorted({launch.variant for launch in program.launches}),
    }


def tolerance_of(plan: Plan) -> float:
    """How far a network under this plan may be off its reference body."""
    return 0.0 if plan.activations else TOLERANCE[str(plan.default.weights)]
