"""Tasks and choices have texts that parse back and do not depend on the order in which facts are named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.choices import Choice, Task
from espalier.core.errors import InvalidInputError

NAMES = st.from_regex(r"[a-z]\w{0,8}", fullmatch=True).filter(str.isascii)
CHOICES = st.builds(
    lambda family, sizes: Choice(family, tuple(sizes.items())), NAMES, st.dictionaries(NAMES, st.integers(-9, 999))
)


@given(CHOICES)
def test_a_choice_parses_back(choice):
    assert Choice.parse(str(choice)) == choice


@pytest.mark.parametrize(
    "text", ["", "blocked", "blocked(", "blocked(rows)", "blocked(rows=x)", "a(b=1,c=2)", "a(b=1) "]
)
def test_another_text_is_no_choice(text):
    with pytest.raises(InvalidInputError, match="choice: got"):
        Choice.parse(text)


def task(**changes) -> Task:
    return Task(**{"operator": "conv", "facts": {"a": [1, 2], "b": None}, "device": {"kind": "llvm"}, **changes})


def test_a_task_parses_back():
    assert Task.parse(task().text) == task()
    assert Task.parse(task().text).digest == task().digest
    assert len({task(), Task.parse(task().text)}) == 1


def test_the_order_of_facts_does_not_count():
    assert task(facts={"b": None, "a": (1, 2)}) == task()


@pytest.mark.parametrize("changes", [{"operator": "dense"}, {"facts": {"a": [1, 3], "b": None}}, {"device": {}}])
def test_whatever_a_time_depends_on_makes_another_task(changes):
    assert task(**changes) != task()
    assert task(**changes).digest != task().digest


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"operator": "conv", "facts": 3, "device": {}}'])
def test_another_text_is_no_task(text):
    with pytest.raises(InvalidInputError, match="task: got"):
        Task.parse(text)
