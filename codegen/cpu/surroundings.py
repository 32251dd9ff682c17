"""What the layers around it ask of a convolution's kernel: margins, zeros, and how far away its weights are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tvm import relax

from espalier.core import ir_names
from espalier.core.layers import LayerSpec
from espalier.ir.dataflow import Dataflow, argument
from espalier.targets.cpu import Isa

from .choose_kernels import KernelChoice
from .kernels.cost import NEAR_BYTES
from .kernels.int8 import as_kernels_take_it
from .kernels.problem import ConvProblem


@dataclass(frozen=True)
class Surroundings:
    """Of a kernel in a network.

    x_block: the channel block in which x is stored. x_halo, out_halo, residual_halo: margins of the stored tensors, in
    rows and columns. clears_losers: whether channels that lose become zeros. weights_are_far: whether the network's
    weights drive each other out of the nearest caches.
    """

    x_block: int
    x_halo: int
    out_halo: int = 0
    residual_halo: int = 0
    clears_losers: bool = False
    weights_are_far: bool = False


def halos_of(flow: Dataflow) -> dict[relax.Var, int]:
    """The margin that the convolutions which read a tensor need; tensors that none reads are left out."""
    halos: dict[relax.Var, int] = {}
    for var in flow.values:
        layer = flow.layer_of(var)
        if layer and layer[0] == ir_names.CONV2D:
            source = layer[2].args[0]
            halos[source] = max(halos.get(source, 0), *layer[1].padding)
    return halos


def zeros_are_read(flow: Dataflow, var: relax.Var, isa: Isa) -> bool:
    """Whether some reader of a gated tensor reads more than the listed channels."""
    if var in relax.analysis.free_vars(flow.result):
        return True
    for user in flow.users[var]:
        layer = flow.layer_of(user)
        if not layer or var == argument(layer[1], layer[2], "residual"):
            return True
        _, spec, call = layer
        is_quantized = isinstance(spec, LayerSpec) and spec.integer is not None
        if "active" not in (as_kernels_take_it(spec, isa) if is_quantized else spec).roles:
            return True
    return False


def surroundings_of(
    flow: Dataflow, isa: Isa, problems: Mapping[relax.Var, ConvProblem], chosen: Mapping[relax.Var, KernelChoice]
) -> dict[relax.Var, Surroundings]:
    """Of every convolution of a module. problems, chosen: see `convolutions_of` and `choose_kernels`."""
    halos, far = halos_of(flow), _weight_bytes(problems.values()) > NEAR_BYTES
    found = {}
    for var, problem in problems.items():
        _, spec, call = flow.layer_of(var)
        x, residual = call.args[0], argument(spec, call, "residual")
        clears = problem.spec.winners is not None and zeros_are_read(flow, var, isa)
        margins = (halos.get(one, 0) for one in (x, var, residual))
        found[var] = Surroundings(chosen[var].x_block, *margins, clears, far)
    return found


def _weight_bytes(problems: Iterable[ConvProblem]) -> int:
    """Of a network's weights, as its formats store them."""
    sizes = {"int8": 1, "bfloat16": 2}
    return sum(sizes.get(one.spec.format, 4) * math.prod(one.weight_shape) for one in problems)
