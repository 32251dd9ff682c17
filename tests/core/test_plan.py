"""Plans are strict, and they survive the trip to a file."""

from __future__ import annotations

import json
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import InvalidInputError, InvalidPlanError
from espalier.core.plan import FORMATS, GRANULARITIES, PLACEMENTS, LayerPlan, Plan, default_granularity, kept_groups

densities = st.floats(0, 1, exclude_min=True)
settings = {
    "density": densities,
    "granularity": st.sampled_from([*GRANULARITIES, None]),
    "placement": st.sampled_from(PLACEMENTS),
}
overrides = st.fixed_dictionaries({}, optional=settings)
in_one_format = st.sampled_from(FORMATS).map(lambda one: {"weights": one, "activations": one})
plans = st.builds(
    lambda formats, **rest: Plan(**formats, **rest),
    in_one_format,
    **settings,
    layers=st.dictionaries(st.text(max_size=10), overrides, max_size=4),
)


@given(plans)
def test_dictionary_round_trip(plan):
    text = json.dumps(plan.to_dict())
    assert Plan.from_dict(json.loads(text)) == plan


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
    [("granularity", 3), ("granularity", True), ("placement", "outer"), ("weights", "floaty"), ("activations", None)],
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
        ({"version": 1, "layer": {}}, "unknown field 'layer', accepted are version, default, layers"),
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
    "formats", [{"weights": "bfloat16"}, {"activations": "bfloat16"}, {"weights": "bfloat16", "activations": "float32"}]
)
def test_a_layer_computes_in_one_format(formats):
    message = "weights and activations: got .*, accepted are both the same, one of float32, bfloat16"
    with pytest.raises(InvalidPlanError, match=message) as caught:
        Plan(**formats)
    assert "\n" not in str(caught.value)
    with pytest.raises(InvalidPlanError, match=f"plan, layer 'fc': {message}"):
        Plan(weights="bfloat16", activations="bfloat16", layers={"fc": {"weights": "float32"}})


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
