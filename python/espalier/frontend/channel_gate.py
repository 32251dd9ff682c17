"""Channel gates that come with a model, as both frontends put them into the module.

A gate becomes a call of the operator `ir_names.CHANNEL_GATE`, what it scales a stock multiplication. So the module
means what the model means, whoever compiles it; `passes.prepare.fuse_layers` makes gated layers of the two.
"""

from __future__ import annotations

import tvm
from tvm import relax

from ..core.errors import InvalidModelError
from ..core.layers import ChannelGateSpec
from ..core.plan import GRANULARITIES
from ..ir.dataflow import dtype_of, shape_of
from ..ir.operators import channel_gate_function, winners_mask_function


def emit_channel_gate(
    builder: relax.BlockBuilder, name: str, arguments: list[relax.Expr], granularity: int, kept: int
) -> relax.Tuple:
    """(pi, mask), both float32 [N, C_out], of a gate that boosts: mask is 1 for the channels that win, else 0.

    name: of the gate, for errors. arguments: x, phi, rho, see `core.layers.ChannelGateSpec`.
    Raises InvalidModelError if they do not fit each other.
    """
    _check(name, arguments, granularity, kept)
    spec = ChannelGateSpec(name, "boost", granularity, kept)
    both = _emit_call(builder, channel_gate_function(spec, arguments), arguments)
    pi, winners = (builder.emit(relax.TupleGetItem(both, i)) for i in range(2))
    function = winners_mask_function(winners, granularity, shape_of(pi)[1])
    return relax.Tuple([pi, _emit_call(builder, function, [winners])])


def _emit_call(builder: relax.BlockBuilder, function: relax.Function, arguments: list[relax.Expr]) -> relax.Var:
    return builder.emit(relax.Call(builder.add_func(function, "channel_gate"), arguments))


def _check(name: str, arguments: list[relax.Expr], granularity: int, kept: int) -> None:
    if len(arguments) != 3:
        raise InvalidModelError(f"gate {name!r}: {len(arguments)} inputs, accepted are x, phi and rho")
    if not isinstance(granularity, int) or not isinstance(kept, int):
        raise InvalidModelError(f"gate {name!r}: granularity {granularity} and kept {kept}, accepted are integers")
    if not all(_is_float32(argument) for argument in arguments):
        raise InvalidModelError(f"gate {name!r}: its arguments are not float32 tensors of static shapes")
    x, phi, rho = map(shape_of, arguments)
    if len(x) != 4 or len(phi) != 2 or x[1:2] + rho != phi:
        raise InvalidModelError(
            f"gate {name!r}: x is {list(x)}, phi {list(phi)} and rho {list(rho)}, "
            "accepted are [N, C_in, H, W], [C_in, C_out] and [C_out]"
        )
    if granularity not in GRANULARITIES or rho[0] % granularity:
        accepted = ", ".join(str(one) for one in GRANULARITIES if rho[0] % one == 0)
        raise InvalidModelError(
            f"gate {name!r}: granularity {granularity} of {rho[0]} channels, accepted are {accepted}"
        )
    if not 1 <= kept <= rho[0] // granularity:
        raise InvalidModelError(f"gate {name!r}: keeps {kept} groups, accepted are 1 .. {rho[0] // granularity}")


def _is_float32(expr: relax.Expr) -> bool:
    shape = getattr(expr.ty, "shape", None)
    return shape is not None and all(isinstance(dim, tvm.tirx.IntImm) for dim in shape) and dtype_of(expr) == "float32"
