"""Channel gates before the layers that a plan wants gated."""

from __future__ import annotations

from collections.abc import Mapping

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from espalier.core.calibration import Gate
from espalier.core.errors import InvalidInputError, InvalidPlanError
from espalier.core.layers import ActiveList, ChannelGateSpec
from espalier.core.plan import Plan
from espalier.ir.dataflow import argument
from espalier.ir.operators import channel_gate_function, layer_function
from espalier.ir.rewriting import BindingRewriter

from ..analysis.gate_sites import GateSite, GateSites


@tvm.transform.module_pass(opt_level=0, name="InsertChannelGates")
class InsertChannelGates:
    """A layer with a density below one gets a channel gate that reads the layer's input.

    Before: y = conv2d(x, w, b)
    After:  pi, winners = channel_gate(x, phi, rho); y = conv2d(x, w, b, pi, winners)

    Raises InvalidPlanError if a layer has no gate parameters, or if a trained gate's layer is not gated by the plan,
    InvalidInputError if they do not fit.
    """

    def __init__(self, plan: Plan, gates: Mapping[str, Gate]):
        self.plan, self.gates = plan, gates

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main."""
        found = GateSites.of(mod, self.plan)
        for site in found.sites.values():
            check_gate(site, self.gates.get(site.name))
        self._check_all_are_used(found)
        inserter = _ChannelGateInserter(mod)
        inserter.configure(found, self.gates)
        return inserter.run()

    def _check_all_are_used(self, found: GateSites) -> None:
        """A gate that boosts is a factor of the network: without it, the numbers are others."""
        unused = [name for name, gate in self.gates.items() if gate.mode == "boost" and name not in found.sites]
        if unused:
            raise InvalidPlanError(
                f"plan, layer {unused[0]!r}: it has a trained gate, which a plan of placement {self.plan.placement!r} "
                "and these densities does not use; accepted is the plan of the training"
            )


def check_gate(site: GateSite, gate: Gate | None) -> None:
    """Raise unless `gate` has the parameters that the site needs."""
    if gate is None:
        raise InvalidPlanError(
            f"plan, layer {site.name!r}: a density below 1 needs gates and the model came without; give inputs "
            "to calibrate on (calibration=espalier.calibrate(mod, inputs, plan), "
            'flag "espalier.calibration", --calibration)'
        )
    expected = (site.channels_in, site.channels_out)
    if gate.phi.shape != expected:
        raise InvalidInputError(
            f"gate of layer {site.name!r}: phi is {list(gate.phi.shape)}, accepted is {list(expected)}"
        )


@mutator
class _ChannelGateInserter(BindingRewriter):
    def configure(self, found: GateSites, gates: Mapping[str, Gate]) -> None:
        self.found, self.gates = found, gates
        self.remarks += found.remarks
        self.decided, self.readers = {}, {}
        self.params = list(self.flow.mod["main"].params)
        for var in self.flow.values:
            layer = self.flow.layer_of(var)
            site = layer and found.sites.get(layer[1].name)
            if site:
                self.readers.setdefault(argument(layer[1], layer[2], "x"), []).append(site)

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        for param in self.params:
            self._emit_gates(param)
        self.params = []  # their gates come once, before the first binding
        super().visit_var_binding_(binding)
        self._emit_gates(binding.var)

    def rewrite(self, var: relax.Var, value: relax.Expr) -> relax.Expr:
        layer = self.flow.layer_of(var)
        site = layer and self.found.sites.get(layer[1].name)
        leader = layer and self.found.followers.get(layer[1].name)
        if site:
            return self._gated(layer[1], value, site, site.gate)
        if leader and leader in self.decided:
            return self._gated(layer[1], value, self.found.sites[leader], "listed")
        if leader:
            self.remarks.append(f"{layer[1].name}: not gated: it is computed before the gate of {leader}")
        return self.visit_expr(value)

    def _emit_gates(self, source: relax.Var) -> None:
        """The gates that read `source`, as soon as it is there, so that every later layer can use their lists."""
        for site in self.readers.get(source, []):
            gate = self.gates[site.name]
            spec = ChannelGateSpec(site.name, gate.mode, site.granularity, site.kept)
            arguments = [self.visit_expr(source), relax.const(gate.phi, "float32"), relax.const(gate.rho, "float32")]
            call = self.call_operator(channel_gate_function(spec, arguments), f"{site.name}.gate", arguments)
            both = self.builder_.emit(call, f"{site.name}.gate")
            pi = self.builder_.emit(relax.TupleGetItem(both, 0), f"{site.name}.pi")
            self.decided[site.name] = pi, self.builder_.emit(relax.TupleGetItem(both, 1), f"{site.name}.winners")

    def _gated(self, spec, value: relax.Call, site: GateSite, gate: str) -> relax.Call:
        pi, winners = self.decided[site.name]
        roles = {"winners": winners} if gate == "listed" else {"pi": pi, "winners": winners}
        gated = spec.with_arguments(*roles, gate=gate, winners=ActiveList(site.kept, site.granularity))
        arguments = [*(self.visit_expr(given) for given in value.args), *roles.values()]
        return self.call_operator(layer_function(gated, arguments), spec.name, arguments)
