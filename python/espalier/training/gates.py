"""Channel gates in torch modules, so that they learn together with the network.

A gated layer computes y = relu(pi(x) * norm(conv(x))), where pi(x) is the boosted saliency of the channels that win and
0 for the others. Unlike in the paper the batch norm keeps its scale: with phi = 0 and rho = 1 the network with gates
at density 1 then computes, bit for bit, what the one without computes. Folding the scale into rho would not, since a
saliency cannot be negative and a scale can; what pi multiplies is the same family of functions either way.

References
    Gao et al., Dynamic Channel Pruning: Feature Boosting and Suppression, ICLR 2019.
"""

from __future__ import annotations

import copy
import operator

import torch
from torch import fx, nn

from ..core.errors import InvalidInputError, InvalidModelError, InvalidPlanError
from ..core.plan import Plan, kept_groups
from .layer_ends import LayerEnds, scale_channels
from .sites import FoundSites, find_sites
from .tracing import PLAN, traced

GATES = "gates"
"""The submodule that holds the gates, each under the name of its layer."""


class ChannelGate(nn.Module):
    """pi = wta_k(relu(mean|x| phi + rho)), the meaning of `core.layers.ChannelGateSpec` in mode "boost".

    x [N, channels_in, H, W] to (pi, mask), both [N, channels_out]: mask is 1 for the channels that win.
    density: the layer's own, which the plan gives it; `set_density` never goes below it.
    The gradient of pi flows to the winners only. In training `saliency` keeps the last saliencies [N, channels_out].
    """

    def __init__(self, channels_in: int, channels_out: int, granularity: int, density: float):
        super().__init__()
        self.granularity, self.density = granularity, density
        self.kept = channels_out // granularity
        self.phi = nn.Parameter(torch.zeros(channels_in, channels_out))
        self.rho = nn.Parameter(torch.ones(channels_out))
        self.saliency: torch.Tensor | None = None

    @property
    def groups(self) -> int:
        """How many groups there are to choose from."""
        return len(self.rho) // self.granularity

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """In float32, whatever x is: a choice between close saliencies must not depend on rounding."""
        if torch.compiler.is_exporting():
            from .gate_operator import channel_gate  # which is made of this module's functions

            return channel_gate(x, self.phi, self.rho, self.granularity, self.kept)
        with torch.autocast(x.device.type, enabled=False):
            saliency = self.saliencies(mean_magnitude(x))
            mask = winners_mask(saliency, self.granularity, self.kept)
            pi = self.boosts(saliency) * mask
        if self.training:
            self.saliency = saliency
        return pi, mask

    def saliencies(self, mean: torch.Tensor) -> torch.Tensor:
        """[N, channels_out] from the means of |x| [N, channels_in]."""
        return saliency_of(mean, self.phi, self.rho)

    def boosts(self, saliency: torch.Tensor) -> torch.Tensor:
        """What pi is where a channel wins."""
        return saliency

    def __getstate__(self) -> dict:
        """A copy has no last saliencies: they belong to the graph of a backward pass."""
        return {**self.__dict__, "saliency": None}

    def extra_repr(self) -> str:
        return f"{self.kept} of {self.groups} groups of {self.granularity} channels"


def mean_magnitude(x: torch.Tensor) -> torch.Tensor:
    """float32 [N, C]: the mean of |x| over H and W."""
    return x.float().abs().mean((2, 3))


def saliency_of(mean: torch.Tensor, phi: torch.Tensor, rho: torch.Tensor) -> torch.Tensor:
    """relu(mean phi + rho), float32 [N, channels_out]."""
    return torch.relu(mean @ phi + rho)


def winners_mask(saliency: torch.Tensor, granularity: int, kept: int) -> torch.Tensor:
    """[N, C], 1 for the channels of the `kept` groups with the largest sums of saliencies; ties go to the lowest."""
    scores = saliency.detach().unflatten(1, (-1, granularity)).sum(2)
    winners = scores.sort(dim=1, descending=True, stable=True).indices[:, :kept]
    return torch.zeros_like(scores).scatter(1, winners, 1.0).repeat_interleave(granularity, 1)


def insert_gates(model: nn.Module, plan: Plan, example) -> fx.GraphModule:
    """A copy of the network with a gate at every layer that the compiler would gate under the plan.

    example: a tensor, or a tuple of them, with the shapes of the inputs.
    The parameters and buffers keep their names; the gates' are `gates.<layer>.phi` and `.rho`. Every gate starts with
    all of its channels, see `set_density`.

    Raises InvalidPlanError for a plan with unknown layers or one that gates none, InvalidModelError for a network
    that cannot be traced or computes a gated layer otherwise than by an nn.Conv2d.
    """
    found = find_sites(model, plan, example)
    if not found.sites:
        reasons = "; ".join(found.remarks) or "every density is 1"
        raise InvalidPlanError(f"plan: it gates no layer of this network ({reasons})")
    return gated_at(found, model, plan)


def gated_at(found: FoundSites, model: nn.Module, plan: Plan) -> fx.GraphModule:
    """What `insert_gates` gives, of a network and a plan whose sites are known: there are some."""
    gated, plan = traced(model), plan.for_layers(found.specs)
    _GateInserter(gated, found, plan).run()
    gated.meta[PLAN] = plan
    return gated


def found_gates(model: nn.Module) -> dict[str, ChannelGate]:
    """The gates by the name of their layer, if there are any."""
    return {
        name.removeprefix(f"{GATES}."): module
        for name, module in model.named_modules()
        if isinstance(module, ChannelGate)
    }


def gates_of(model: nn.Module) -> dict[str, ChannelGate]:
    """The gates by the name of their layer; InvalidModelError if there are none."""
    found = found_gates(model)
    if not found:
        raise InvalidModelError("the network has no channel gates; insert them with espalier.training.insert_gates")
    return found


def set_density(model: nn.Module, density: float) -> None:
    """Let every gate keep this fraction of its channels, or the one that the plan gives its layer if that is larger.

    Raises InvalidInputError unless the density is in (0, 1].
    """
    if not 0 < density <= 1:
        raise InvalidInputError(f"density: got {density!r}, accepted is a number in (0, 1]")
    for gate in gates_of(model).values():
        gate.kept = kept_groups(len(gate.rho), max(density, gate.density), gate.granularity)


def mean_saliency(model: nn.Module) -> torch.Tensor:
    """Sum over the gates of E[|g(x)|_1], of the last batch in training: the paper's penalty without its lambda."""
    return sum(gate.saliency.sum(1).mean() for gate in gates_of(model).values())


def without_gates(model: fx.GraphModule) -> fx.GraphModule:
    """A copy of a gated network without its gates; parameters under their names."""
    plain = copy.deepcopy(model)
    for node in list(plain.graph.nodes):
        if node.op == "call_function" and node.target is scale_channels:
            node.replace_all_uses_with(node.args[0])
    plain.graph.eliminate_dead_code()
    plain.delete_all_unused_submodules()
    plain.recompile()
    return plain


class _GateInserter:
    def __init__(self, model: fx.GraphModule, found: FoundSites, plan: Plan):
        self.model, self.found, self.plan = model, found, plan
        self.ends = LayerEnds(model)
        self.order = {node: number for number, node in enumerate(model.graph.nodes)}
        self.decided: dict[str, tuple[fx.Node, fx.Node]] = {}

    def run(self) -> None:
        following = [pair for pair in self.found.followers.items() if self._is_late_enough(*pair)]
        for site in self.found.sites.values():
            self._insert_gate(site)
        for site in self.found.sites.values():
            self._scale(self.ends.end(site.name, self.found.specs[site.name], site.gate), self.decided[site.name][0])
        for name, leader in following:
            self._scale(self.ends.end(name, self.found.specs[name], "listed"), self.decided[leader][1])
        self.model.graph.lint()
        self.model.recompile()

    def _insert_gate(self, site) -> None:
        source = self.ends.call(site.name).args[0]
        density = self.plan.layer(site.name).density
        gate = ChannelGate(site.channels_in, site.channels_out, site.granularity, density)
        self.model.add_submodule(f"{GATES}.{site.name}", gate.train(self.model.training))
        graph = self.model.graph
        with graph.inserting_after(source):
            both = graph.call_module(f"{GATES}.{site.name}", (source,))
        with graph.inserting_after(both):
            mask = graph.call_function(operator.getitem, (both, 1))
            pi = graph.call_function(operator.getitem, (both, 0))
        self.decided[site.name] = pi, mask

    def _is_late_enough(self, follower: str, leader: str) -> bool:
        """Whether the leader's gate can be computed before the follower, as the compiler asks for."""
        source = self.ends.call(leader).args[0]
        return self.order[source] < self.order[self.ends.call(follower)]

    def _scale(self, end: fx.Node, factor: fx.Node) -> None:
        graph = self.model.graph
        with graph.inserting_after(end):
            scaled = graph.call_function(scale_channels, (end, factor))
        end.replace_all_uses_with(scaled, delete_user_cb=lambda user: user is not scaled)
