"""A plan without Winograd reaches the layers it names, and nothing else changes."""

from __future__ import annotations

from oracles.graphs import assert_unchanged, specs
from oracles.networks import plain

from espalier.build import prepare
from espalier.core.layers import Conv2dSpec
from espalier.core.plan import Plan
from espalier.passes.lower.refuse_winograd import RefuseWinograd


def convolutions(mod) -> dict[str, bool]:
    """Whether Winograd is allowed, by layer."""
    return {name: spec.winograd for name, spec in specs(mod).items() if isinstance(spec, Conv2dSpec)}


def test_unchanged_by_default():
    mod = prepare(plain())
    assert_unchanged(RefuseWinograd(Plan())(mod), mod)


def test_refused_everywhere():
    found = convolutions(RefuseWinograd(Plan(winograd=False))(prepare(plain())))
    assert found and not any(found.values())


def test_refused_for_one_layer():
    mod = prepare(plain())
    first, *others = convolutions(mod)
    found = convolutions(RefuseWinograd(Plan(layers={first: {"winograd": False}}))(mod))
    assert not found[first] and others and all(found[name] for name in others)
