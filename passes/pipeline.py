"""The passes that are the same for every target, phase by phase."""

from __future__ import annotations

import tvm
from tvm import relax

from espalier.core.calibration import Calibration
from espalier.core.plan import Plan
from espalier.ir.compiler_failures import named_failures

from .lower.refuse_winograd import RefuseWinograd
from .prepare.drop_none_outputs import DropNoneOutputs
from .prepare.fold_batch_norm import FoldBatchNorm
from .prepare.fuse_layers import FuseLayers
from .prune.insert_channel_gates import InsertChannelGates
from .prune.propagate_activity import PropagateActivity
from .prune.prune_weights import PruneWeights
from .prune.replace_weights import ReplaceWeights
from .quantize.fuse_qdq import FuseQdq
from .quantize.rewrite_to_integer import RewriteToInteger
from .quantize.round_to_short_float import RoundToShortFloat


def prepare_phase() -> list:
    """From what a frontend gives to layers with names."""
    return [
        DropNoneOutputs(),
        relax.transform.CanonicalizeBindings(),
        relax.transform.ConvertToDataflow(min_size=1),
        relax.transform.DeadCodeElimination(["main"]),
        FuseQdq(),  # before FoldConstant, which would make float32 weights of quantized ones
        relax.transform.FoldConstant(),
        relax.transform.CanonicalizeBindings(),
        relax.transform.ConvertToDataflow(min_size=1),
        relax.transform.DeadCodeElimination(["main"]),
        FoldBatchNorm(),  # before FuseLayers: a layer takes a bias, not a normalisation
        FuseLayers(),
    ]


def prune_phase(plan: Plan, calibration: Calibration) -> list:
    """Weights at zero, channel gates, and the lists that follow from these."""
    return [
        ReplaceWeights(calibration),  # before the gates: a layer is rebuilt from its plain arguments
        PruneWeights(plan),  # what calibration fitted, too
        InsertChannelGates(plan, calibration.gates),
        PropagateActivity(),  # last: it reads the lists of every gate
    ]


def quantize_phase(plan: Plan, calibration: Calibration) -> list:
    """Number formats; last of all, because what reads a tensor decides how it is rounded."""
    return [
        # first: it leaves float32 at its borders, which is not rounded
        RewriteToInteger(plan, calibration.ranges, calibration.quantized),
        RoundToShortFloat(plan),
    ]


def lower_phase(plan: Plan) -> list:
    """What the plan leaves to the code generators, and what not."""
    return [RefuseWinograd(plan)]


def apply(mod: tvm.IRModule, phase: list) -> tvm.IRModule:
    """Run one phase.

    Raises UnsupportedOpError, which names the pass, where TVM refuses what it does.
    """
    for one in phase:
        with named_failures(lambda one=one: f"the pass {one.info.name} cannot rewrite the network"):
            mod = tvm.transform.Sequential([one])(mod)
    return mod
