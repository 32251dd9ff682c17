"""espalier.training.recipe: densities and learning rates over time."""

import pytest

from espalier import Plan
from espalier.core.errors import InvalidInputError
from espalier.training.recipe import RECIPES, Recipe, recipe


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
    assert [name for name, one in RECIPES.items() if one.is_gated] == ["mcifarnet-gated", "resnet20-gated"]


def test_an_unknown_recipe():
    with pytest.raises(InvalidInputError, match="accepted are mcifarnet-gated, resnet20-gated, resnet8"):
        recipe("vgg")


@pytest.mark.parametrize("setting", ["epochs", "batch"])
def test_impossible_settings(setting):
    with pytest.raises(InvalidInputError, match=f"{setting}: got 0"):
        Recipe("r", "resnet8", **{setting: 0})
