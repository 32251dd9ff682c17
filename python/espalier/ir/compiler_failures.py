"""What a user is told where the compiler itself fails on a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from espalier.core.errors import EspalierError, UnsupportedOpError, first_line


@contextmanager
def named_failures(what: Callable[[], str]) -> Iterator[None]:
    """Turn an error that nobody raised for a user into an UnsupportedOpError of one line, with the error as its cause.

    what: says what could not be done; asked only if that happens.
    """
    try:
        yield
    except (EspalierError, OSError, MemoryError):
        raise
    except Exception as error:  # of TVM: RuntimeError as a rule, but its Python parts raise nearly anything
        raise UnsupportedOpError(f"{what()} ({first_line(error)})") from error
