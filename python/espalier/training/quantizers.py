"""Quantizers in torch networks, so that weights learn to be what the integer program makes of them.

Batch norms are folded into their convolutions first, from the running statistics: what is quantized is then the weight
that the compiler stores, and nothing but weights, biases and gates is trained from there on. Which tensors become
integers and which of them share a scale is the compiler's decision (`numbers`), asked for, not made again. While it is
trained the network rounds what the integer program rounds, but for sums with a residual, which are rounded once instead
of before and after the add; how good a network is says `integer_eval`.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import fx, nn
from torch.nn.utils import parametrize

from ..core.calibration import Range
from ..core.errors import InvalidPlanError
from ..core.formats import Format, parse_format
from ..core.plan import Plan
from ..passes.quantize.scales import Numbers
from .activation_quantizers import ActivationQuantizer, QuantizedGate
from .exporting import export_float
from .gates import GATES
from .layer_ends import LayerEnds
from .numbers import LayerNumbers, layer_numbers, observed
from .tracing import PLAN, RANGES, fold_norms, traced
from .weight_quantizer import WeightQuantizer, weight_quantizers

QUANTIZERS = "quantizers"
"""The submodule that holds the quantizers of activations."""


def insert_quantizers(
    model: nn.Module, plan: Plan, inputs, ranges: Mapping[str, Range] | None = None, is_incremental: bool = False
) -> fx.GraphModule:
    """A copy of the network that computes what the plan makes of it, see the module; weights fitted to their formats.

    model: without gates, or from `insert_gates` at the densities it is to have. Weights that are 0 stay 0.
    plan: with quantized formats; of a network with gates, the one these were made for, formats aside.
    inputs: tensor [S, ...] over which the ranges of activations are observed (16 samples at least), or, where `ranges`
        are given, any example of an input.
    is_incremental: for `settle`, see `WeightQuantizer`.
    Latent weights are the parameters `<layer>.parametrizations.weight.original`; biases and gates keep their names.

    Raises InvalidPlanError for a plan that quantizes no layer, InvalidModelError for a network that cannot be traced
    or computes a quantized layer otherwise than by an nn.Conv2d or nn.Linear, and what `calibrate` does.
    """
    quantized = unfitted(model, plan, inputs, ranges, is_incremental)
    for quantizer, weight in weight_quantizers(quantized).values():
        quantizer.fit_to(weight)
    return quantized


def unfitted(
    model: nn.Module, plan: Plan, inputs, ranges: Mapping[str, Range] | None, is_incremental: bool
) -> fx.GraphModule:
    """The same before weights are fitted: for a state that is loaded into it."""
    quantized = traced(model)
    fold_norms(quantized)
    mod, plan, calibration = export_float(quantized, plan, inputs[:1])
    ranges = observed(mod, plan, calibration, inputs.cpu().numpy()) if ranges is None else ranges
    numbers = layer_numbers(mod, plan, calibration, ranges)
    if not numbers:
        raise InvalidPlanError("plan: it quantizes no layer of this network; give weights such as uniform<8>")
    inserter = _QuantizerInserter(quantized)
    for name, one in numbers.items():
        inserter.insert(name, one, parse_format(plan.layer(name).weights), is_incremental)
    quantized.graph.lint()
    quantized.recompile()
    quantized.meta[PLAN], quantized.meta[RANGES] = plan, dict(ranges)
    return quantized.train(model.training)


def settle(model: nn.Module, share: float) -> None:
    """Fix this share of the weights of every layer at their levels, the largest first."""
    for quantizer, weight in weight_quantizers(model).values():
        quantizer.settle(weight, share)


class _QuantizerInserter:
    def __init__(self, model: fx.GraphModule):
        self.model, self.ends = model, LayerEnds(model)
        self.read: dict[fx.Node, fx.Node] = {}

    def insert(self, name: str, numbers: LayerNumbers, fmt: Format, is_incremental: bool) -> None:
        call, module = self.ends.call(name), self.ends.modules[name]
        quantizer = WeightQuantizer(fmt, module.weight, is_incremental)
        parametrize.register_parametrization(module, "weight", quantizer)
        gate = f"{GATES}.{name}"
        gate_calls = [node for node in call.args[0].users if node.op == "call_module" and node.target == gate]
        if numbers.gate is not None:
            self.model.add_submodule(gate, QuantizedGate(self.ends.modules[gate], *numbers.gate))
        self._quantize_input(name, [*gate_calls, call], numbers.x)
        if numbers.y is not None:
            end = self.ends.end(name, numbers.spec, "output")
            quantized = self._inserted(f"{name}.y", end, numbers.y)
            end.replace_all_uses_with(quantized, delete_user_cb=lambda user: user is not quantized)

    def _quantize_input(self, name: str, readers: list[fx.Node], numbers: Numbers) -> None:
        """What a layer reads, unless another layer gives it in the same numbers."""
        source = readers[-1].args[0]
        if source.op == "call_module" and isinstance(self.model.get_submodule(source.target), ActivationQuantizer):
            return
        if source not in self.read:
            self.read[source] = self._inserted(f"{name}.x", source, numbers)
        for reader in readers:
            reader.replace_input_with(source, self.read[source])

    def _inserted(self, name: str, node: fx.Node, numbers: Numbers) -> fx.Node:
        self.model.add_submodule(f"{QUANTIZERS}.{name}", ActivationQuantizer(numbers))
        with self.model.graph.inserting_after(node):
            return self.model.graph.call_module(f"{QUANTIZERS}.{name}", (node,))
