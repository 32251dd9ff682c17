"""What the operators of a layer are, as plain values: the parameters of convolution, dense and gate.

A layer is one convolution or dense product with everything that is fused to it:

    y = act(pi * (conv(x, weight) + bias) + residual)    gate "branch", or no gate
    y = pi * act(conv(x, weight) + bias + residual)      gate "output"
    y = mask * act(conv(x, weight) + bias + residual)    gate "listed": mask is 1 for the channels in `winners`

where each of bias, pi and residual may be absent. In the formats "bfloat16", "float16" and "tfloat32" x is first
rounded to the format (to nearest, ties to even; the weight holds such values already), and everything after the
products is float32. In the format "int8" all of it is integer arithmetic, see `core.integer`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field

from .formats import bit_operations, parse_format
from .integer import GateArithmetic, LayerArithmetic


@dataclass(frozen=True)
class Activation:
    """A pointwise function at the end of a layer: "none", "relu", or "clip" to [low, high]."""

    kind: str = "none"
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class ActiveList:
    """The channels of a tensor that can be nonzero: `count` groups of `granularity` channels, listed at run time."""

    count: int
    granularity: int

    @property
    def channels(self) -> int:
        """How many channels the list stands for."""
        return self.count * self.granularity


@dataclass(frozen=True)
class LayerSpec:
    """Parameters that convolution and dense layers share.

    roles: what each argument of the operator's function is, in order. "x", "weight" always;
        then, where present, "bias", "residual", "pi" ([N, C_out], float32), "winners" and "active"
        (int32 [N, count], ascending group numbers of the output and of the input). In the format "int8" x, residual
        and pi are uint8, weight is int8, bias int32; and there is "multiplier" (int32 [C_out]) or, for an output in
        float32, "scale" (float32 [C_out]).
    winners, active: the lists behind these two arguments.
    gate: "none", "branch", "output" or "listed" (see the module's formulas).
    format: of x and the weight in the products, "float32", "bfloat16", "float16", "tfloat32" or "int8".
    out_format: "bfloat16" or "float16" if y is rounded at the end, because every reader would round it; of the format
        "int8", "uint8" or, with the role "scale", "float32".
    integer: the arithmetic of the format "int8"; the activation is then part of its limits.
    weight_format: the text of the number format that the weight was fitted to (`core.formats`), for the code
        generators that store or compute by it.
    """

    name: str
    roles: tuple[str, ...] = ("x", "weight")
    activation: Activation = Activation()
    gate: str = "none"
    winners: ActiveList | None = None
    active: ActiveList | None = None
    format: str = field(default="float32", kw_only=True)
    out_format: str = field(default="float32", kw_only=True)
    integer: LayerArithmetic | None = field(default=None, kw_only=True)
    weight_format: str = field(default="float32", kw_only=True)

    def to_json(self) -> str:
        """The text stored under `ir_names.SPEC`."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str):
        """The value behind a text of `to_json`."""
        data = json.loads(str(text))
        data["activation"] = Activation(**data["activation"])
        for key in ("winners", "active"):
            data[key] = data[key] and ActiveList(**data[key])
        data["integer"] = LayerArithmetic.from_dict(data["integer"])
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})

    def with_arguments(self, *roles: str, **changes):
        """This layer with further arguments after the present ones."""
        return dataclasses.replace(self, roles=(*self.roles, *roles), **changes)


@dataclass(frozen=True)
class Conv2dSpec(LayerSpec):
    """A two-dimensional convolution, x [N, C_in, H, W], weight [C_out, C_in / groups, R, S].

    padding: rows and columns of zeros added at the top, left, bottom, right.
    winograd: whether it may be computed by Winograd's transforms, which round differently.
    """

    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    winograd: bool = True


@dataclass(frozen=True)
class DenseSpec(LayerSpec):
    """A dense product, x [N, C_in], weight [C_out, C_in]."""


@dataclass(frozen=True)
class ChannelGateSpec:
    """A channel gate: pi = wta_k(relu(ss(x) phi + rho)), ss(x) the mean of |x| over each channel.

    Arguments: x [N, C_in, H, W], phi [C_in, C_out], rho [C_out].
    Results: pi [N, C_out] float32; winners int32 [N, kept], ascending.
    Groups of `granularity` channels win together by the sum of their saliencies, ties go to the
    lowest group. mode "boost": pi is the saliency of the winners' channels, "select": pi is 1 there.
    Source: Gao et al., Dynamic Channel Pruning: Feature Boosting and Suppression, ICLR 2019, section 3.

    active: the channels of x that can be nonzero, when they are known ("active" is then an argument).
    integer: the arithmetic of a gate of a quantized layer; x is then uint8, phi int8, rho int32 and pi uint8.
    """

    name: str
    mode: str
    granularity: int
    kept: int
    roles: tuple[str, ...] = ("x", "phi", "rho")
    active: ActiveList | None = None
    integer: GateArithmetic | None = None

    to_json = LayerSpec.to_json

    @classmethod
    def from_json(cls, text: str) -> ChannelGateSpec:
        """The value behind a text of `to_json`."""
        data = json.loads(str(text))
        data["active"] = data["active"] and ActiveList(**data["active"])
        data["integer"] = data["integer"] and GateArithmetic(**data["integer"])
        return cls(**{**data, "roles": tuple(data["roles"])})

    with_arguments = LayerSpec.with_arguments


@dataclass(frozen=True)
class LayerRecord:
    """What the compiler knows of one layer, for reports and profiles.

    macs_dense: multiply-accumulates of one sample when nothing is skipped.
    macs: those that are done, the gate's predictor and scaling included.
    channels, active_channels: of the output; fewer are active where a gate keeps them.
    input_channels, active_input_channels: of the input; fewer are active where the layer skips.
    weights: the number format of the weights, as a text; activation_bits: of a value of the input.
    """

    name: str
    operator: str
    macs_dense: int
    macs: int
    channels: int
    active_channels: int
    input_channels: int
    active_input_channels: int
    granularity: int | None = None
    gate: str = "none"
    weights: str = "float32"
    activation_bits: int = 32

    @property
    def bit_operations(self) -> int:
        """Single-bit operations of the products of one sample, see `core.formats.bit_operations`."""
        return bit_operations(parse_format(self.weights), self.activation_bits, self.macs)


def conv2d_macs(weight_shape, out_shape) -> int:
    """Multiply-accumulates of a dense convolution for one sample: C_out * C_in/groups * R * S * H * W."""
    c_out, c_in, r, s = weight_shape
    return c_out * c_in * r * s * out_shape[-2] * out_shape[-1]


def skipped_macs(dense: int, active_in: float, active_out: float) -> int:
    """Multiply-accumulates left when only these fractions of input and output channels are computed.

    Quadratic in the density where both sides are skipped (FBS, section 3.3).
    """
    return round(dense * active_in * active_out)


def gate_macs(channels_in: int, channels_out: int, pixels: int) -> int:
    """The gate's own cost for one sample: the predictor C_in * C_out and the scaling of H * W * C_out values."""
    return channels_in * channels_out + pixels * channels_out
