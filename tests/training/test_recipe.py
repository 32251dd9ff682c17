"""espalier.training.recipe: densities and learning rates over time."""

import pytest

from espalier import Plan
from espalier.core.errors import InvalidInputError
from espalier.training.recipe import INCREMENTS, RECIPES, Recipe, recipe


def test_density_falls_in_steps_of_a_tenth():
    one = Recipe("r", "resnet8", plan=Plan(density=0.7), epochs=10, lowering=0.6)
    assert [one.density(epoch) for epoch in range(10)] == [1, 1, 0.9, 0.9, 0.8, 0.8, 0.7, 0.7, 0.7, 0.7]


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_the_last_epoch_has_the_lowest_density(epochs):
    one = Recipe("r", "resnet8", plan=Plan(layers={"conv1": {"density": 0.25}}), epochs=epochs, lowering=0.4)
    assert one.density(epochs - 1) == 0.25


def test_the_learning_rate_rises_and_falls_to_nothing():
    one = Recipe("r", "resnet8", epochs=10, warm_up=1)
    factors = [one.learning_rate_factor(step, 20) for step in range(200)]
    assert factors[0] == pytest.approx(0.05)
    assert max(factors) == factors[19] > 0.95
    assert factors[19:] == sorted(factors[19:], reverse=True)
    assert factors[-1] < 1e-3


def test_the_text_form_parses_back():
    for one in RECIPES.values():
        assert Recipe.from_dict(one.to_dict()) == one


def test_which_recipes_have_gates():
    assert [name for name, one in RECIPES.items() if one.is_gated] == [
        "mcifarnet-gated",
        "mcifarnet-gated-half",
        "resnet20-inner",
        "resnet20-branch",
        "resnet20-sum",
        "resnet20-quantized",
        "resnet8-gated",
    ]
    assert [name for name, one in RECIPES.items() if one.is_quantized] == [
        "mcifarnet-quantized",
        "resnet20-focused",
        "resnet20-quantized",
        "resnet8-int8",
        "resnet8-mixed",
        "resnet8-gated",
    ]
    assert [name for name, one in RECIPES.items() if one.pruning is not None] == ["mcifarnet-pruned"]


@pytest.mark.parametrize(("epochs", "expected"), [(5, [0.25, 0.5, 0.75, 0.875, 1]), (2, [0.25, 1])])
def test_shares_of_fixed_weights(epochs, expected):
    one = Recipe("r", "resnet8", plan=Plan(weights="shift<4>"), epochs=epochs, incremental=INCREMENTS)
    assert [one.fixed_share(epoch) for epoch in range(epochs)] == expected


def test_weights_are_pruned_in_the_first_half():
    one = Recipe("r", "resnet8", epochs=3, pruning=0.8)
    assert [one.pruned_share(epoch) for epoch in range(3)] == [0.8 * 0.875, 0.8, None]
    assert Recipe("r", "resnet8").pruned_share(0) is None
    with pytest.raises(InvalidInputError, match="pruning: got 1.5, accepted is a share between 0 and 1"):
        Recipe("r", "resnet8", pruning=1.5)


def test_an_unknown_recipe():
    with pytest.raises(InvalidInputError, match="accepted are mcifarnet-gated, mcifarnet-gated-half, "):
        recipe("vgg")


@pytest.mark.parametrize("setting", ["epochs", "batch", "largest_every"])
def test_impossible_settings(setting):
    with pytest.raises(InvalidInputError, match=f"{setting}: got 0"):
        Recipe("r", "resnet8", **{setting: 0})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pruning": 0.5, "plan": Plan(weights="shift<4>")}, "pruning: got 0.5 for quantized weights"),
        ({"teacher": ("resnet20", "weights.th")}, r"teacher: got \('resnet20', 'weights.th'\), accepted are"),
        ({"incremental": (0.5, 1.0)}, r"incremental: got \(0.5, 1.0\), accepted are rising shares up to 1"),
        ({"incremental": (0.5, 0.7), "plan": Plan(weights="shift<4>")}, "accepted are rising shares up to 1"),
        ({"incremental": (0.5, 0.4, 1.0), "plan": Plan(weights="shift<4>")}, "accepted are rising shares up to 1"),
    ],
)
def test_settings_that_do_not_fit_each_other(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        Recipe("r", "resnet8", **settings)
