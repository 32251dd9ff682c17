"""Plans are strict, and they survive the trip to a file."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import InvalidInputError, InvalidPlanError
from espalier.core.plan import GRANULARITIES, PLACEMENTS, LayerPlan, Plan, default_granularity, kept_groups

densities = st.floats(0, 1, exclude_min=True)
settings = {
    "density": densities,
    "granularity": st.sampled_from([*GRANULARITIES, None]),
    "placement": st.sampled_from(PLACEMENTS),
}
QUANTIZED = ("fixed<8,6>", "uniform<2>", "shift<4>", "focused<5>", "codebook<8>", "binary")
formats = st.one_of(
    st.sampled_from(("float32", "bfloat16")).map(lambda one: {"weights": one, "activations": one}),
    st.builds(
        lambda w, b: {"weights": w, "activations": f"uniform<{b}>"}, st.sampled_from(QUANTIZED), st.integers(2, 8)
    ),
    st.sampled_from(("float32", "bfloat16", *QUANTIZED)).map(lambda one: {"weights": one}),
)
overrides = st.builds(lambda rest, given: rest | given, st.fixed_dictionaries({}, optional=settings), formats)
plans = st.builds(
    lambda formats, **rest: Plan(**formats, **rest),
    formats,
    **settings,
    layers=st.dictionaries(st.text(max_size=10), overrides, max_size=4),
)
ends = st.fixed_dictionaries({}, optional={"first": overrides, "last": overrides})


@given(plans, ends)
def test_dictionary_round_trip(plan, ends):
    plan = dataclasses.replace(plan, **ends)
    text = json.dumps(plan.to_dict())
    assert Plan.from_dict(json.loads(text)) == plan
    assert {name for name in ("first", "last") if name in plan.to_dict()} == {name for name in ends if ends[name]}


def test_the_form_of_a_plan_that_says_nothing_of_the_ends():
    assert list(Plan().to_dict()) == ["version", "default", "layers"]


def test_file_round_trip(tmp_path):
    plan = Plan(density=0.5, granularity=16, layers={"stage1.conv1": {"density": 1.0}})
    plan.save(tmp_path / "new" / "plan.json")
    assert Plan.load(tmp_path / "new" / "plan.json") == plan


@given(plans, st.text(max_size=10))
def test_a_layer_has_its_override_or_the_default(plan, name):
    layer = plan.layer(name)
    for setting in settings:
        given_here = plan.layers.get(name, {})
        assert getattr(layer, setting) == given_here.get(setting, getattr(plan, setting))
        assert plan.sets(name, setting) == (setting in given_here)


@pytest.mark.parametrize("density", [0, -0.1, 1.0001, float("nan"), float("inf"), True, "0.5", None])
def test_density_outside_its_range(density):
    with pytest.raises(InvalidPlanError, match=r"density: got .*, accepted is a number in \(0, 1\]"):
        Plan(density=density)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("granularity", 3), ("granularity", True), ("placement", "outer"), ("weights", "floaty"), ("weights", None)],
        *[("weights", "uniform<9>"), ("weights", "shift<6>"), ("activations", "focused<5>"), ("activations", 8)],
    ],
)
def test_impossible_value(field, value):
    with pytest.raises(InvalidPlanError, match=f"'conv0': {field}: got {value!r}, accepted are "):
        Plan(layers={"conv0": {field: value}})
    with pytest.raises(InvalidPlanError, match=f"{field}: got"):
        LayerPlan(**{field: value})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "plan: got list"),
        ({"version": 2}, "version 2 is not known, accepted is 1"),
        ({}, "version None is not known"),
        ({"version": 1, "layer": {}}, "unknown field 'layer', accepted are version, default, first, last, layers"),
        ({"version": 1, "first": 0.5}, "plan, first: got 0.5, accepted is an object with density"),
        ({"version": 1, "last": {"ratio": 0.5}}, "plan, last: unknown field 'ratio'"),
        ({"version": 1, "last": {"weights": "uniform<9>"}}, "plan, last: weights: got 'uniform<9>'"),
        ({"version": 1, "default": 0.5}, "default is 0.5"),
        ({"version": 1, "default": {"densty": 0.5}}, "unknown field 'densty', accepted are density"),
        ({"version": 1, "layers": ["conv0"]}, "layers: got list"),
        ({"version": 1, "layers": {"conv0": 0.5}}, "layer 'conv0': got 0.5"),
        ({"version": 1, "layers": {"conv0": {"ratio": 0.5}}}, "layer 'conv0': unknown field 'ratio'"),
    ],
)
def test_malformed_object(data, message):
    with pytest.raises(InvalidPlanError, match=message) as caught:
        Plan.from_dict(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("weights", "activations"),
    [("float32", "float32"), ("bfloat16", "bfloat16"), ("uniform<8>", "uniform<8>"), ("shift<3>", "uniform<8>")],
)
def test_activations_follow_the_weights(weights, activations):
    plan = Plan(weights=weights, layers={"fc": {"density": 0.5}})
    assert plan.default.activations == plan.layer("fc").activations == activations
    assert not plan.sets("fc", "activations")
    assert dataclasses.replace(plan, weights="float32").default.activations == "float32"
    assert hash(plan.default) == hash(LayerPlan(weights=weights, activations=activations))


def test_a_layers_weights_choose_among_the_plans_activations():
    """The plan's where they fit, as for other quantized weights; a float layer in a quantized network has its own."""
    changed = {"fc": {"weights": "float32"}, "conv0": {"weights": "shift<4>"}, "conv1": {"activations": "uniform<8>"}}
    plan = Plan(weights="focused<5>", activations="uniform<4>", layers=changed)
    found = {name: (plan.layer(name).weights, plan.layer(name).activations) for name in (*changed, "conv2")}
    assert found == {
        "fc": ("float32", "float32"),
        "conv0": ("shift<4>", "uniform<4>"),
        "conv1": ("focused<5>", "uniform<8>"),
        "conv2": ("focused<5>", "uniform<4>"),
    }


def test_the_first_and_the_last_layer_of_any_network():
    wide = {"weights": "uniform<8>", "density": 1.0}
    plan = Plan(density=0.5, weights="focused<5>", activations="uniform<4>", first=wide, last={"weights": "float32"})
    found = plan.for_layers(["stem", "conv1", "conv2", "fc"])
    assert found == Plan(
        0.5,
        weights="focused<5>",
        activations="uniform<4>",
        layers={"stem": wide, "fc": {"weights": "float32"}},
    )
    assert [found.layer(name).weights for name in ("stem", "conv1", "fc")] == ["uniform<8>", "focused<5>", "float32"]
    assert found.sets("stem", "density")
    assert found.for_layers(["stem", "conv1", "conv2", "fc"]) == found
    assert plan.for_layers([]).default == plan.default
    assert dataclasses.replace(plan, last={}).for_layers(["a", "b"]).layers == {"a": wide}


def test_what_is_said_of_a_layer_by_name_goes_before_its_place():
    plan = Plan(
        weights="focused<5>",
        first={"weights": "uniform<8>", "activations": "uniform<6>", "density": 0.5},
        last={"weights": "shift<4>"},
        layers={"conv0": {"weights": "float32"}, "fc": {"sparsity": 0.25}},
    )
    found = plan.for_layers(["conv0", "fc"])
    assert (found.layer("conv0").weights, found.layer("conv0").activations) == ("float32", "float32")
    assert (found.layer("conv0").density, found.layer("fc").sparsity) == (0.5, 0.25)
    assert found.layer("fc").weights == "shift<4>"
    alone = dataclasses.replace(plan, layers={}).for_layers(["fc"]).layer("fc")
    assert (alone.weights, alone.activations, alone.density) == ("shift<4>", "uniform<8>", 0.5)


def test_places_without_a_network_are_not_guessed():
    plan = Plan(first={"weights": "uniform<8>"})
    with pytest.raises(InvalidPlanError, match="which layer is the first or last is not known, accepted is what for_"):
        plan.layer("conv0")
    with pytest.raises(InvalidPlanError, match="no layer is called 'conv9'"):
        dataclasses.replace(plan, layers={"conv9": {}}).for_layers(["conv0"])
    impossible = Plan(first={"weights": "binary"}, layers={"conv0": {"sparsity": 0.5}}, weights="shift<4>")
    with pytest.raises(InvalidPlanError, match="plan, layer 'conv0': sparsity: got 0.5 with weights in binary"):
        impossible.for_layers(["conv0"])


@pytest.mark.parametrize(
    ("weights", "activations", "accepted"),
    [
        ("float32", "bfloat16", "float32"),
        ("bfloat16", "float32", "bfloat16"),
        ("float32", "uniform<8>", "float32"),
        ("uniform<8>", "float32", "uniform<2..8>"),
        ("binary", "bfloat16", "uniform<2..8>"),
    ],
)
def test_formats_that_do_not_go_together(weights, activations, accepted):
    message = f"activations: got {activations} with weights in {weights}, accepted is {accepted}; .* follow the weights"
    with pytest.raises(InvalidPlanError, match=message) as caught:
        Plan(weights=weights, activations=activations)
    assert "\n" not in str(caught.value)
    with pytest.raises(InvalidPlanError, match=f"plan, layer 'fc': {message}"):
        Plan(layers={"fc": {"weights": weights, "activations": activations}})


def test_unreadable_files(tmp_path):
    with pytest.raises(InvalidInputError, match="plan .*none.json: cannot be read"):
        Plan.load(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("density: 0.5")
    with pytest.raises(InvalidPlanError, match="text.json: not a JSON text"):
        Plan.load(tmp_path / "text.json")


def test_unknown_layer_names_what_is_near():
    plan = Plan(layers={"conv_1": {"density": 0.5}})
    plan.check_layers(["conv_1", "conv_2"])
    with pytest.raises(InvalidPlanError, match=r"no layer is called 'conv_1'; the model has 2, such as \['conv1'\]"):
        plan.check_layers(["conv1", "linear"])


@given(st.integers(1, 2048))
def test_default_granularity(channels):
    chosen = default_granularity(channels)
    fitting = [g for g in GRANULARITIES if channels % g == 0 and channels // g >= 4]
    assert chosen in GRANULARITIES
    assert channels % chosen == 0
    assert all(g <= chosen for g in fitting)


@given(st.integers(1, 100), st.integers(1, 256), st.sampled_from(GRANULARITIES))
def test_kept_groups_is_the_exact_ceiling(percent, groups, granularity):
    kept = kept_groups(groups * granularity, percent / 100, granularity)
    assert kept == ceil(Fraction(percent, 100) * groups)
    assert 1 <= kept <= groups


@given(densities, densities, st.integers(1, 256))
def test_more_density_keeps_no_fewer(one, other, groups):
    low, high = sorted((one, other))
    assert 1 <= kept_groups(groups, low, 1) <= kept_groups(groups, high, 1) <= groups


@pytest.mark.parametrize("sparsity", [-0.1, 1, 1.5, "half", True, None, float("nan")])
def test_impossible_sparsity(sparsity):
    with pytest.raises(InvalidPlanError, match=r"sparsity: got .*, accepted is a number in \[0, 1\)"):
        Plan(sparsity=sparsity)


def test_weights_without_zero_cannot_be_sparse():
    with pytest.raises(InvalidPlanError, match="layer 'conv0': sparsity: got 0.5 with weights in binary"):
        Plan(sparsity=0.5, layers={"conv0": {"weights": "binary"}})
    assert Plan(sparsity=0.5, layers={"conv0": {"weights": "binary", "sparsity": 0}}).layer("fc").sparsity == 0.5
