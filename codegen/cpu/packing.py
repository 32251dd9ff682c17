"""How constants come to lie in memory as kernels want them, so that it can be done again when they are loaded.

A packing is a function of arrays and whole numbers, registered by its name under `packing`. Within `recorded` every
packing notes what became of what; `Packings.recipe` then says how a packed constant is made of parameters.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np

from espalier.core.calibration import digest

Recipe = str | list
"""The name of a parameter; or a list, the name of a packing and its arguments: recipes and whole numbers."""


@dataclass(frozen=True)
class Packings:
    """What was packed: digest of a result -> name of the packing and its arguments, arrays by their digests."""

    known: dict[str, tuple[str, tuple[str | int, ...]]] = field(default_factory=dict)

    def note(self, name: str, arguments: tuple, result: np.ndarray) -> None:
        """Remember a packing, unless it changed nothing."""
        given = tuple(digest_of(one) if isinstance(one, np.ndarray) else int(one) for one in arguments)
        after = digest_of(result)
        if after not in given:
            self.known.setdefault(after, (name, given))

    def recipe(self, packed: str, parameters: Mapping[str, str]) -> Recipe | None:
        """How the constant with this digest is made of parameters, digest -> name; None if it is not."""
        if packed in parameters:
            return parameters[packed]
        if packed not in self.known:
            return None
        name, given = self.known[packed]
        arguments = [one if isinstance(one, int) else self.recipe(one, parameters) for one in given]
        return None if None in arguments else [name, *arguments]


_functions: dict[str, Callable[..., np.ndarray]] = {}
_recorder: ContextVar[Packings | None] = ContextVar("espalier_packings", default=None)


def packing(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Register a function of arrays and whole numbers; the same arguments must always give the same bits."""
    name = function.__name__
    assert name not in _functions, name

    @functools.wraps(function)
    def packed(*arguments) -> np.ndarray:
        result = function(*arguments)
        recorder = _recorder.get()
        if recorder is not None:
            recorder.note(name, arguments, result)
        return result

    _functions[name] = function
    return packed


@contextlib.contextmanager
def recorded() -> Iterator[Packings]:
    """Note every packing that is done meanwhile."""
    packings = Packings()
    token = _recorder.set(packings)
    try:
        yield packings
    finally:
        _recorder.reset(token)


def pack(recipe: Recipe, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
    """The constant that a recipe makes of parameters; KeyError for a parameter or a packing that is not known."""
    if isinstance(recipe, str):
        return parameters[recipe]
    name, *arguments = recipe
    return _functions[name](*(one if isinstance(one, int) else pack(one, parameters) for one in arguments))


def names_in(recipe: Recipe) -> list[str]:
    """The parameters that a recipe needs."""
    if isinstance(recipe, str):
        return [recipe]
    return [name for one in recipe[1:] if not isinstance(one, int) for name in names_in(one)]


def digest_of(array: np.ndarray) -> str:
    """Equal for arrays of equal type, shape and bytes."""
    return digest({"": array})
