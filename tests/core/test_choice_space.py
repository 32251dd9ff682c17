from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.choice_space import ChoiceSpace, parse_point, point_text
from espalier.core.errors import InvalidInputError

NUMBERS = st.lists(st.integers(-9, 99), min_size=1, max_size=4, unique=True).map(lambda one: tuple(sorted(one)))
REALS = st.lists(st.sampled_from((0.25, 0.5, 0.75, 1.5)), min_size=1, unique=True).map(lambda one: tuple(sorted(one)))
TEXTS = st.lists(st.sampled_from(("float32", "uniform<8>", "none", "e2.s")), min_size=1, unique=True).map(tuple)
SPACES = st.dictionaries(
    st.from_regex(r"[a-z]\w{0,5}(\.[a-z]+)?", fullmatch=True), NUMBERS | REALS | TEXTS, min_size=1, max_size=5
)
SEEDS = st.integers(0, 1000)


@given(SPACES)
def test_text_round_trips(dimensions):
    space = ChoiceSpace(dimensions)
    assert ChoiceSpace.parse(str(space)) == space


@given(SPACES, SEEDS)
def test_samples_mutations_and_children_are_points(dimensions, seed):
    space, random = ChoiceSpace(dimensions), np.random.default_rng(seed)
    one, other = space.sample(random), space.sample(random)
    changed, child = space.mutate(one, random), space.cross(one, other, random)
    for point in (one, other, changed, child):
        space.check(point)
        assert parse_point(point_text(point)) == point
    assert (changed != one) == (space.size > 1)
    assert all(child[name] in (one[name], other[name]) for name in child)


@given(SPACES, SEEDS)
def test_encoding_tells_points_apart(dimensions, seed):
    space, random = ChoiceSpace(dimensions), np.random.default_rng(seed)
    one, other = space.sample(random), space.sample(random)
    rows = [space.encode(point) for point in (one, other)]
    assert all(row.shape == (len(space.columns),) and 0 <= row.min() <= row.max() <= 1 for row in rows)
    assert (rows[0] == rows[1]).all() == (one == other)


def test_every_value_is_drawn():
    space, random = ChoiceSpace({"a": (1, 2, 3), "b": ("x", "y")}), np.random.default_rng(0)
    drawn = {point_text(space.sample(random)) for _ in range(200)}
    assert len(drawn) == space.size == 6


def without_second(point):
    """Idle where there is one block only."""
    return ("second",) if point["blocks"] == 1 else ()


def test_idle_dimensions_are_no_part_of_a_point():
    space, random = ChoiceSpace({"blocks": (1, 2), "second": ("x", "y")}, without_second), np.random.default_rng(0)
    drawn = [space.sample(random) for _ in range(50)]
    drawn += [space.mutate(one, random) for one in drawn] + [space.cross(drawn[0], one, random) for one in drawn]
    texts = {point_text(one): one for one in drawn}
    assert set(texts) == {"blocks=1", "blocks=2 second=x", "blocks=2 second=y"}
    assert space.size == 3
    assert len({tuple(space.encode(one)) for one in texts.values()}) == 3
    for one in texts.values():
        space.check(one)
        assert all(space.mutate(one, random) != one for _ in range(20))
    for wrong in ({"blocks": 1, "second": "x"}, {"blocks": 2}):
        with pytest.raises(InvalidInputError, match="second"):
            space.check(wrong)


def test_many_points_of_which_some_are_one_are_counted_from_above():
    names = {f"n{number}": (0, 1) for number in range(12)}
    assert ChoiceSpace({"blocks": (1, 2), "second": ("x", "y"), **names}, without_second).size == 2**14


@pytest.mark.parametrize(
    ("dimensions", "words"),
    [
        ({}, "no dimensions"),
        ({"a": ()}, "space, a"),
        ({"a": (1, 1)}, "each once"),
        ({"a": (1, "x")}, "either numbers or texts"),
        ({"a": (2, 1)}, "rise"),
        ({"a": ("x y",)}, "without blanks"),
        ({"a": ("1",)}, "accepted are numbers"),
        ({"a b": (1,)}, "names without blanks"),
    ],
)
def test_impossible_spaces_are_refused(dimensions, words):
    with pytest.raises(InvalidInputError, match=words):
        ChoiceSpace(dimensions)


@pytest.mark.parametrize("text", ["a", "= 1", "a = 1\na = 2", "a = ", "a = 1 |"])
def test_texts_that_are_no_space_are_refused(text):
    with pytest.raises(InvalidInputError, match="space"):
        ChoiceSpace.parse(text)


@pytest.mark.parametrize("point", [{}, {"a": 3}, {"a": 1, "b": 1}])
def test_points_of_other_spaces_are_refused(point):
    with pytest.raises(InvalidInputError, match="accepted are"):
        ChoiceSpace({"a": (1, 2)}).check(point)


@pytest.mark.parametrize("text", ["a", "=1", "a=1 a=2"])
def test_texts_that_are_no_point_are_refused(text):
    with pytest.raises(InvalidInputError, match="accepted is"):
        parse_point(text)
