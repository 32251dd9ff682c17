"""Where gates go for each placement, which layers follow others, and what is said about the rest."""

from __future__ import annotations

import pytest
from oracles.graphs import Graph
from oracles.networks import concatenating, mobile, plain, residual
from tvm import relax

from espalier.build import prepare
from espalier.core.errors import InvalidPlanError
from espalier.core.plan import Plan
from espalier.passes.analysis.gate_sites import GateSite, GateSites, layer_names

BRANCHES = {"block1.conv1": "output", "block2.conv1": "output", "block3.conv1": "output"}


def sites_of(mod, **plan) -> GateSites:
    return GateSites.of(prepare(mod), Plan(**{"density": 0.5, **plan}))


def kinds(found: GateSites) -> dict[str, str]:
    return {name: site.gate for name, site in found.sites.items()}


def reason(found: GateSites, name: str) -> str:
    """The one remark about a layer."""
    (remark,) = [remark for remark in found.remarks if remark.startswith(f"{name}: ")]
    return remark.removeprefix(f"{name}: ")


def test_inner_gates_only_what_stays_inside_a_branch():
    found = sites_of(residual())
    assert kinds(found) == BRANCHES
    assert not found.followers
    for name in ("stem", "block1.conv2", "block2.conv2", "block2.shortcut", "block3.conv2", "block3.shortcut"):
        assert reason(found, name) == "not gated: its output runs into a residual add (placement inner)"


def test_branch_gates_both_sides_of_an_add_before_it():
    """In block3 the shortcut is defined first, so it is the layer that adds."""
    found = sites_of(residual(), placement="branch")
    adding = {"block1.conv2": "branch", "block2.conv2": "branch", "block3.shortcut": "branch"}
    added = {"stem": "output", "block2.shortcut": "output", "block3.conv2": "output"}
    assert kinds(found) == BRANCHES | adding | added
    assert not found.followers


def test_sum_gates_the_sums_and_what_is_only_added_follows():
    found = sites_of(residual(), placement="sum")
    sums = {"stem": "output", "block1.conv2": "output", "block2.conv2": "output", "block3.shortcut": "output"}
    assert kinds(found) == BRANCHES | sums
    assert found.followers == {"block2.shortcut": "block2.conv2", "block3.conv2": "block3.shortcut"}


def test_a_follower_of_a_dense_sum_is_computed_whole():
    found = sites_of(residual(), placement="sum", layers={"block2.conv2": {"density": 1.0}})
    assert "block2.shortcut" not in found.followers
    assert reason(found, "block2.shortcut") == "not gated: the sum that it is added to is not gated"


def test_depthwise_layers_follow_the_gate_on_their_input():
    found = sites_of(mobile())
    assert kinds(found) == {"stem": "output", "pointwise0": "output", "pointwise1": "output"}
    assert found.followers == {"depthwise0": "stem", "depthwise1": "pointwise0"}


def test_depthwise_layers_without_a_gate_on_their_input():
    found = sites_of(mobile(), layers={"stem": {"density": 1.0}})
    assert "depthwise0" not in found.followers
    assert reason(found, "depthwise0").startswith("not gated: a depthwise convolution carries the gate of its input")


def test_a_depthwise_layer_that_adds_a_residual_is_computed_whole():
    """Its losers would hide what is added."""
    g = Graph(1, 16, 8, 8)
    first, other = g.relu(g.conv(g.x, "first", 16)), g.relu(g.conv(g.x, "other", 16))
    total = g.relu(g.emit(relax.op.add(g.conv(first, "depthwise", 16, groups=16), other)))
    found = sites_of(g.module(g.head(g.relu(g.conv(total, "last", 16)))))
    assert "depthwise" not in found.followers
    assert "residual" in reason(found, "depthwise")


def test_concatenated_layers_are_gated():
    assert set(sites_of(concatenating()).sites) == {"stem", "left", "right", "joined"}


def test_site_counts_groups():
    site = sites_of(plain(channels=24), density=0.3, granularity=4).sites["conv1"]
    assert site == GateSite("conv1", "output", channels_in=24, channels_out=24, granularity=4, kept=2)


@pytest.mark.parametrize(("channels", "granularity"), [(64, 16), (32, 8), (20, 4), (18, 1), (3, 1)])
def test_default_granularity_leaves_four_groups(channels, granularity):
    assert sites_of(plain(channels=channels)).sites["conv1"].granularity == granularity


def test_default_granularity_of_the_plan_that_does_not_divide_falls_back():
    found = sites_of(plain(channels=20), granularity=16)
    assert found.sites["conv1"].granularity == 4
    assert reason(found, "conv1") == "granularity 16 does not divide 20 channels, took 4"


def test_granularity_of_a_layer_that_does_not_divide_is_an_error():
    with pytest.raises(InvalidPlanError, match="'conv1': granularity 16 does not divide its 20 channels"):
        sites_of(plain(channels=20), layers={"conv1": {"granularity": 16}})


def test_a_gate_that_keeps_everything_is_left_out():
    found = sites_of(plain(channels=16), density=0.95, granularity=4)
    assert not found.sites
    assert reason(found, "conv1") == "not gated: density 0.95 of 16 channels in groups of 4 keeps all"


def test_grouped_last_and_dense_layers_are_computed_whole():
    g = Graph(1, 8, 6, 6)
    y = g.relu(g.conv(g.relu(g.conv(g.x, "grouped", 16, groups=2)), "last", 16))
    found = sites_of(g.module(y))
    assert not found.sites
    assert reason(found, "grouped") == "not gated: grouped convolutions other than depthwise ones are computed whole"
    assert reason(found, "last") == "not gated: no layer reads its output"
    assert reason(sites_of(plain()), "fc") == "not gated: only convolutions are gated"


def test_a_gate_must_be_worth_its_cost():
    """A 1x1 convolution of one pixel costs no more than its gate."""
    g = Graph(1, 16, 1, 1)
    found = sites_of(g.module(g.conv(g.relu(g.conv(g.x, "first", 16, 1)), "second", 16, 1)))
    assert reason(found, "first") == "not gated: a gate would cost more than it saves"


def test_density_one_needs_no_remark():
    found = sites_of(plain(), density=1.0)
    assert (found.sites, found.followers, found.remarks) == ({}, {}, [])


def test_layer_names_are_in_program_order():
    names = ["conv0", "conv1", "conv2", "fc"]
    assert layer_names(prepare(plain())) == names
