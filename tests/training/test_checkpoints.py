"""The trained networks of benchmarks/checkpoints are what today's recipes make, by the commands of their README."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from espalier import Plan
from espalier.training.finished import recipe_of
from espalier.training.recipe import RECIPES, Recipe

FOLDER = Path(__file__).parents[2] / "benchmarks" / "checkpoints"
FILES = sorted(FOLDER.glob("*.pt"))
LINES = re.findall(r"^\$train (\S+)(.*)$", (FOLDER / "README.md").read_text(), re.M)
COMMANDS = {name: shlex.split(options) for name, options in LINES}


def without_plan(one: Recipe) -> Recipe:
    return dataclasses.replace(one, plan=Plan(), bfloat16=False, compiled=False)


def by_layer(plan: Plan) -> dict:
    return {name: plan.layer(name) for name in ("", *plan.layers)}


def test_there_are_some():
    assert len(FILES) == 13


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_of_its_command(path):
    found, expected, options = recipe_of(path), RECIPES[path.stem], COMMANDS[path.stem]
    if "--density" in options:
        density = float(options[options.index("--density") + 1])
        expected = dataclasses.replace(expected, plan=dataclasses.replace(expected.plan, density=density))
    assert without_plan(found) == without_plan(expected)
    assert by_layer(found.plan) == by_layer(expected.plan)
    assert found.bfloat16
    assert found.compiled == ("--compiled" in options)


def test_what_others_begin_with_comes_before_them():
    made = []
    for name in COMMANDS:
        one = RECIPES[name]
        for path in filter(None, (one.start, *one.teacher[1:])):
            assert path.startswith("models-cifar10/") or Path(path).parent.name in made
        made.append(name)
