"""What TVM raises becomes one line; what is meant for a user, and an interruption, stays what it is."""

from __future__ import annotations

import pytest
import tvm
from oracles.graphs import Graph

from espalier.core.errors import InvalidPlanError, UnsupportedOpError
from espalier.ir.compiler_failures import named_failures
from espalier.passes import pipeline


@tvm.transform.module_pass(opt_level=0, name="Raises")
class Raises:
    """A pass that raises this."""

    def __init__(self, error: BaseException):
        self.error = error

    def transform_module(self, _mod, _context):
        raise self.error


def apply(error: BaseException) -> None:
    g = Graph(1, 3)
    pipeline.apply(g.module(g.relu(g.x)), [tvm.relax.transform.CanonicalizeBindings(), Raises(error)])


def test_a_pass_that_fails_is_named():
    with pytest.raises(
        UnsupportedOpError, match=r"^the pass Raises cannot rewrite the network \(no such thing\)$"
    ) as it:
        apply(ValueError("no such thing\nand a trace"))
    assert str(it.value.__cause__).startswith("no such thing")


@pytest.mark.parametrize("error", [InvalidPlanError("layer 'a': no"), KeyboardInterrupt()])
def test_other_errors_pass(error):
    with pytest.raises(type(error)):
        apply(error)


def test_errors_without_words_and_those_of_the_machine():
    with pytest.raises(UnsupportedOpError, match=r"^x \(IndexError\)$"), named_failures(lambda: "x"):
        raise IndexError
    with pytest.raises(FileNotFoundError), named_failures(lambda: "x"):
        raise FileNotFoundError("missing")
