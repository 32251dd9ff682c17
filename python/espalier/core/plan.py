"""The plan: what to do to each layer.

A plan is a default, overrides for the first and the last layer, and overrides by layer name. Layers are named as the
frontend kept them (`mod` printed by `espalier compile --list-layers`, or `espalier.layer_names(mod)`).
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .errors import InvalidPlanError
from .files import read_text, write_atomically
from .formats import ACTIVATION_FORMATS, Format, parse_format

GRANULARITIES = (1, 4, 8, 16)
PLACEMENTS = ("inner", "branch", "sum")
DEFAULT_ACTIVATIONS = "uniform<8>"
"""The activations of a layer with quantized weights, unless the plan says otherwise."""
VERSION = 1
MIN_GROUPS = 4


@dataclass(frozen=True)
class LayerPlan:
    """Settings of one layer.

    density: kept fraction of the layer's output channels, in (0, 1]; 1 means no gate.
    granularity: channels that a gate keeps or drops together, one of 1, 4, 8, 16;
        None takes the largest that divides the channels and leaves at least four groups.
    placement: which tensor is gated when the layer's output runs into a residual add:
        "inner" leaves it alone and gates only tensors inside a branch, "branch" gates the layer's
        own output before the add, "sum" gates the result of the add.
    weights: a number format by its text form (`core.formats`): "float32"; "bfloat16" for inputs and weights rounded to
        bfloat16 (to nearest, ties to even) whose products are summed in float32; on GPUs also "float16" and
        "tfloat32"; or a quantized one such as "uniform<8>", "focused<5>", "codebook<4>", with which the layer is
        integer arithmetic.
    activations: the number format of the layer's input. Float weights have the same; quantized weights have
        "uniform<2>" to "uniform<8>". None, the default, follows the weights: theirs, or "uniform<8>".
    sparsity: fraction of the layer's weights that are set to zero before their format is fitted, the smallest
        magnitudes first, in [0, 1). Zeros anywhere in a weight save space in a compressed artifact, and no time on a
        CPU; fewer channels do that (density).
    winograd: whether a 3x3 convolution may be computed by Winograd's transforms where that is faster; its
        rounding errors are larger (`espalier.compile`'s report says how much), within float32.
    """

    density: float = 1.0
    granularity: int | None = None
    placement: str = "inner"
    weights: str = "float32"
    activations: str | None = None
    sparsity: float = 0.0
    winograd: bool = True

    def __post_init__(self):
        if not _is_number(self.density) or not 0 < self.density <= 1:
            raise InvalidPlanError(f"density: got {self.density!r}, accepted is a number in (0, 1]")
        _check_choice("granularity", self.granularity, (*GRANULARITIES, None))
        _check_choice("placement", self.placement, PLACEMENTS)
        weights = parse_format(self.weights, what="weights")
        if self.activations is None:
            object.__setattr__(self, "activations", DEFAULT_ACTIVATIONS if weights.is_quantized else self.weights)
        activations = parse_format(self.activations, ACTIVATION_FORMATS, "activations")
        if not _fit_each_other(weights, activations):
            accepted = "uniform<2..8>" if weights.is_quantized else self.weights
            raise InvalidPlanError(
                f"activations: got {self.activations} with weights in {self.weights}, accepted is {accepted}; "
                f"without a value they follow the weights"
            )
        self._check_sparsity(weights)
        if not isinstance(self.winograd, bool):
            raise InvalidPlanError(f"winograd: got {self.winograd!r}, accepted are true and false")

    def _check_sparsity(self, weights: Format) -> None:
        if not _is_number(self.sparsity) or not 0 <= self.sparsity < 1:
            raise InvalidPlanError(f"sparsity: got {self.sparsity!r}, accepted is a number in [0, 1)")
        if self.sparsity and not weights.has_zero:
            raise InvalidPlanError(
                f"sparsity: got {self.sparsity} with weights in {self.weights}, which has no zero; accepted is 0"
            )


FIELDS = tuple(f.name for f in dataclasses.fields(LayerPlan))
ENTRIES = ("version", "default", "first", "last", "layers")
"""Of the object that a plan is saved as."""


@dataclass(frozen=True)
class Plan:
    """What to do to each layer of a network.

    `Plan(density=0.5)` sets the default of every layer; `layers` maps a layer name to the fields
    that differ there: `Plan(density=0.5, layers={"conv0": {"density": 1.0}})`. A layer that has weights but no
    activations there takes the default's activations if they fit its weights, or else those that follow the weights:
    `Plan(weights="focused<5>", activations="uniform<4>", layers={"conv0": {"weights": "float32"}})`.

    `first` and `last` are such overrides for the first and the last layer of any network, in the order of execution;
    what `layers` says of the same layer goes before them, and `last` before `first` where there is one layer:
    `Plan(weights="focused<5>", first={"weights": "uniform<8>"}, last={"weights": "uniform<8>"})`.
    They are part of `layers` in the plan that `for_layers` returns, and only such a plan knows the settings of a layer.

    Raises InvalidPlanError for an unknown field or an impossible value.
    """

    density: float = 1.0
    granularity: int | None = None
    placement: str = "inner"
    weights: str = "float32"
    activations: str | None = None
    sparsity: float = 0.0
    winograd: bool = True
    layers: Mapping[str, Mapping] = field(default_factory=dict)
    first: Mapping = field(default_factory=dict)
    last: Mapping = field(default_factory=dict)

    def __post_init__(self):
        if not isinstance(self.layers, Mapping):
            raise InvalidPlanError(f"layers: got {type(self.layers).__name__}, accepted is an object of layer names")
        named = {f"layer {name!r}": overrides for name, overrides in self.layers.items()}
        for where, overrides in {"layer 'default'": {}, "first": self.first, "last": self.last, **named}.items():
            try:
                self._settings(overrides)
            except InvalidPlanError as error:
                raise InvalidPlanError(f"plan, {where}: {error}") from None

    @property
    def default(self) -> LayerPlan:
        """The settings of a layer that `layers` does not name."""
        return LayerPlan(**{name: getattr(self, name) for name in FIELDS})

    def layer(self, name: str) -> LayerPlan:
        """The settings of the layer `name`; InvalidPlanError while `first` or `last` may mean it, see `for_layers`."""
        if self.first or self.last:
            raise InvalidPlanError(
                "plan: which layer is the first or last is not known, accepted is what for_layers returns"
            )
        return self._settings(self.layers.get(name, {}))

    def _settings(self, overrides) -> LayerPlan:
        if not isinstance(overrides, Mapping):
            raise InvalidPlanError(f"got {overrides!r}, accepted is an object with {', '.join(FIELDS)}")
        _check_fields(overrides, FIELDS)
        settings = {field: getattr(self, field) for field in FIELDS} | dict(overrides)
        if "weights" in overrides and "activations" not in overrides:
            settings["activations"] = _following(settings["weights"], self.activations)
        return LayerPlan(**settings)

    def sets(self, name: str, setting: str) -> bool:
        """Whether the plan gives `setting` for this very layer, not only as a default."""
        return setting in self.layers.get(name, {})

    def check_layers(self, names: Iterable[str]) -> None:
        """Raise InvalidPlanError if the plan names a layer that is not among `names`."""
        names = list(names)
        for name in self.layers:
            if name in names:
                continue
            close = difflib.get_close_matches(name, names, n=3) or names[:8]
            raise InvalidPlanError(f"plan: no layer is called {name!r}; the model has {len(names)}, such as {close}")

    def for_layers(self, names: Iterable[str]) -> Plan:
        """The plan for a network with these layers, in the order of execution: `first` and `last` by their names.

        Raises InvalidPlanError if the plan names a layer that is not among them, or says of one what is impossible.
        """
        names = list(names)
        self.check_layers(names)
        if not names or not (self.first or self.last):
            return dataclasses.replace(self, first={}, last={})
        layers = dict(self.layers)
        for name, overrides in ((names[-1], self.last), (names[0], self.first)):
            if overrides:
                layers[name] = _joined(overrides, layers.get(name, {}))
        return dataclasses.replace(self, layers=layers, first={}, last={})

    @staticmethod
    def from_dict(data: Mapping) -> Plan:
        """Build a plan from the object that `to_dict` returns."""
        if not isinstance(data, Mapping):
            raise InvalidPlanError(f"plan: got {type(data).__name__}, accepted is an object with {', '.join(ENTRIES)}")
        _check_fields(data, ENTRIES)
        if data.get("version") != VERSION:
            raise InvalidPlanError(f"plan: version {data.get('version')!r} is not known, accepted is {VERSION}")
        default = data.get("default", {})
        if not isinstance(default, Mapping):
            raise InvalidPlanError(f"plan: default is {default!r}, accepted is an object with {', '.join(FIELDS)}")
        _check_fields(default, FIELDS)
        return Plan(**default, **{name: data.get(name, {}) for name in ("layers", "first", "last")})

    def to_dict(self) -> dict:
        """The plan as plain values, the form that is saved; `first` and `last` only where they say something."""
        return {
            "version": VERSION,
            "default": {name: getattr(self, name) for name in FIELDS},
            **{name: dict(one) for name, one in (("first", self.first), ("last", self.last)) if one},
            "layers": {name: dict(overrides) for name, overrides in self.layers.items()},
        }

    @staticmethod
    def load(path) -> Plan:
        """Read a plan from a JSON file."""
        text = read_text(path, "plan")
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise InvalidPlanError(f"{path}: not a JSON text ({error})") from None
        try:
            return Plan.from_dict(data)
        except InvalidPlanError as error:
            raise InvalidPlanError(f"{path}: {error}") from None

    def save(self, path) -> None:
        """Write the plan to a JSON file."""
        write_atomically(Path(path), json.dumps(self.to_dict(), indent=2).encode() + b"\n")


def default_granularity(channels: int) -> int:
    """The largest granularity that divides `channels` and leaves at least four groups."""
    fitting = [g for g in GRANULARITIES if channels % g == 0 and channels // g >= MIN_GROUPS]
    return max(fitting, default=1)


def kept_groups(channels: int, density: float, granularity: int) -> int:
    """Number of groups a gate keeps: ceil(density * channels / granularity).

    The product is rounded to 9 digits first, so that 0.7 * 10 keeps 7 groups, not 8.
    """
    return max(1, -int(-round(density * channels / granularity, 9) // 1))


def _fit_each_other(weights: Format, activations: Format) -> bool:
    """Float weights have the same activations, quantized weights quantized ones."""
    return weights == activations or weights.is_quantized and activations.is_quantized


def _joined(under: Mapping, over: Mapping) -> dict:
    """Overrides over others; activations follow the weights that they were given with."""
    joined = {**under, **over}
    if "weights" in over and "activations" not in over:
        joined.pop("activations", None)
    return joined


def _following(weights, activations: str | None) -> str | None:
    """The default's activations for a layer with other weights; None, which follows them, where they do not fit."""
    if activations is None:
        return None
    return activations if _fit_each_other(parse_format(weights, what="weights"), parse_format(activations)) else None


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_choice(name, value, accepted) -> None:
    if isinstance(value, (bool, float)) or value not in accepted:
        raise InvalidPlanError(
            f"{name}: got {value!r}, accepted are {', '.join(str(one) for one in accepted if one is not None)}"
        )


def _check_fields(data: Mapping, accepted) -> None:
    unknown = [name for name in data if name not in accepted]
    if unknown:
        raise InvalidPlanError(f"unknown field {unknown[0]!r}, accepted are {', '.join(accepted)}")
