"""Who evaluates the points of a search: this process, or workers of a Ray cluster.

What is timed is timed here, by one process on one machine: clocks of several machines make no common front, and two
networks on one processor slow each other down. Workers find the rest, above all accuracy, which takes longest.
"""

from __future__ import annotations

import contextlib
import re
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlparse

from espalier.core.choice_space import Point
from espalier.core.errors import EspalierError, InvalidInputError, ToolNotFoundError

from .problem import Value

Values = Mapping[str, Value]

SCHEME, PORT = "ray", 10001
REACHED_S = 5.0
"""In which a cluster has to answer."""

ATTEMPTS = 3
"""To connect with one that answers."""

DEATHS = 5
"""So many workers that fail one after the other, none having evaluated a point meanwhile, end a search. Of those that
die only those count that replaced others and evaluated nothing yet: a lost machine takes all its workers along."""


_DETAILS = re.compile(r'^\s*details = "(.*)"$', re.MULTILINE)
"""What went wrong, in the many lines of a gRPC error."""


class WorkerDiedError(EspalierError):
    """A worker died, or failed otherwise than it should, with the point that it evaluated.

    is_last: so many did that there is no use in going on.
    """

    def __init__(self, text: str, is_last: bool = False):
        super().__init__(text)
        self.is_last = is_last


class Workers(ABC):
    """count: points that can be evaluated at a time."""

    count: int

    @abstractmethod
    def submit(self, point: Point) -> Future:
        """Begin; the future is done when `values` will not have to wait."""

    @abstractmethod
    def values(self, point: Point, future: Future) -> Values:
        """Of a point whose future is done; EspalierError if it cannot be built, WorkerDiedError if a worker failed."""


class ThisProcess(Workers):
    """One point at a time."""

    count = 1

    def __init__(self, evaluate: Callable[[Point], Values]):
        self.evaluate = evaluate

    def submit(self, point: Point) -> Future:
        """Done at once: `values` does the work."""
        future: Future = Future()
        future.set_result(None)
        return future

    def values(self, point: Point, future: Future) -> Values:
        """Evaluated now."""
        return self.evaluate(point)


class Divided(Protocol):
    """An evaluation of which a part may be done elsewhere: by pickled copies, which other processes call."""

    def away(self, point: Point) -> Values:
        """What any machine finds."""

    def here(self, point: Point) -> Values:
        """What this machine's clock says."""


@dataclass(frozen=True)
class _Worker:
    """replaces_another: and has evaluated nothing yet."""

    actor: object
    replaces_another: bool = False


class RayWorkers(Workers):
    """An actor for each processor of a cluster; one that dies is replaced, unless its processor is lost too.

    address: such as ray://127.0.0.1:10001, of machines with this package, its versions and Python's the same as here.
    Raises ToolNotFoundError without Ray, InvalidInputError if nothing answers there, or nothing that has processors.
    """

    def __init__(self, address: str, evaluation: Divided):
        self.ray, self.evaluation, self.failures = _connected(address), evaluation, 0
        try:
            with _answering():
                self._begin(address)
        except EspalierError:
            self.close()
            raise

    def _begin(self, address: str) -> None:
        self.count = self._processors()
        if self.count < 1:
            raise InvalidInputError(f"workers {address}: the cluster has no processors, accepted is one with some")
        self.shared = self.ray.put(self.evaluation)
        self.kind = self.ray.remote(num_cpus=1)(_Actor)
        self.idle = [_Worker(self._actor()) for _ in range(self.count)]
        self.busy: dict[Future, _Worker] = {}

    def submit(self, point: Point) -> Future:
        """By the next worker that is free, of which there must be one; WorkerDiedError if the cluster is gone."""
        worker = self.idle.pop()
        with _answering():
            future = worker.actor.evaluate.remote(dict(point)).future()
        self.busy[future] = worker
        return future

    def values(self, point: Point, future: Future) -> Values:
        """The worker's, and this machine's."""
        with _answering():
            found, refusal = self._answer(future)
        if refusal:
            raise InvalidInputError(refusal)
        return {**found, **self.evaluation.here(point)}

    def _answer(self, future: Future) -> tuple[Values, str]:
        """What `_Actor.evaluate` gave."""
        worker = self.busy.pop(future)
        try:
            answer = future.result()
        except self.ray.exceptions.RayTaskError as error:  # the worker lives
            self.idle.append(worker)
            self.failures += 1
            raise self._failed("failed", str(error).strip().splitlines()[-1]) from None
        except self.ray.exceptions.RayError as error:
            self._replace()
            self.failures += worker.replaces_another
            raise self._failed("died", _reason(error)) from None
        self.idle.append(_Worker(worker.actor))
        self.failures = 0
        return answer

    def close(self) -> None:
        """Let the workers go, and the cluster."""
        with contextlib.suppress(*_lost()):
            self.ray.shutdown()

    def _processors(self) -> int:
        return int(self.ray.cluster_resources().get("CPU", 0))

    def _actor(self):
        return self.kind.remote(self.shared)

    def _replace(self) -> None:
        """Begin another worker where there is still a processor for it."""
        self.count = min(self.count, self._processors())
        if len(self.idle) + len(self.busy) < self.count:
            self.idle.append(_Worker(self._actor(), replaces_another=True))

    def _failed(self, what: str, why: str) -> WorkerDiedError:
        if self.count < 1:
            return WorkerDiedError(f"workers: the cluster has no processors left ({why})", is_last=True)
        if self.failures >= DEATHS:
            return WorkerDiedError(f"workers: {DEATHS} {what} one after the other ({why})", is_last=True)
        return WorkerDiedError(f"worker: {what} ({why})")


class _Actor:
    """On a machine of the cluster."""

    def __init__(self, evaluation: Divided):
        import torch

        torch.set_num_threads(1)
        self.evaluation = evaluation

    def evaluate(self, point: Point) -> tuple[Values, str]:
        """(values, why the point cannot be built or nothing)."""
        try:
            return self.evaluation.away(point), ""
        except EspalierError as error:
            return {}, str(error)


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Around what asks a cluster: WorkerDiedError, the last one, where it is gone."""
    try:
        yield
    except _lost() as error:
        raise WorkerDiedError(f"workers: the cluster no longer answers ({_reason(error)})", is_last=True) from None


def _lost() -> tuple[type[Exception], ...]:
    """What Ray's client raises where its cluster is gone."""
    try:
        from grpc import RpcError
    except ImportError:  # then Ray has no client
        return (ConnectionError,)
    return ConnectionError, RpcError


def _reason(error: Exception) -> str:
    """In one line."""
    text = str(error).strip()
    details = _DETAILS.search(text)
    return details[1] if details else text.partition("\n")[0] or type(error).__name__


def _connected(address: str):
    """The ray package, connected; it is silent."""
    place = _host_and_port(address)
    try:
        import ray
    except ImportError:
        raise ToolNotFoundError('Ray is not installed; install it with: pip install "espalier[ray]"') from None
    try:
        socket.create_connection(place, REACHED_S).close()
        _join(ray, address)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1:]
        raise InvalidInputError(f"workers {address}: no Ray cluster answers ({''.join(reason)})") from None
    return ray


def _join(ray, address: str) -> None:
    """Once more where the process failed that the cluster begins for each client."""
    for left in reversed(range(ATTEMPTS)):
        try:
            ray.init(address, log_to_driver=False, logging_level="error")
            return
        except ConnectionAbortedError:
            if not left:
                raise


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        place = urlparse(address)
        if place.scheme == SCHEME and place.hostname:
            return place.hostname, place.port or PORT
    except ValueError:
        pass  # told below
    raise InvalidInputError(f"workers: got {address!r}, accepted is such as {SCHEME}://127.0.0.1:{PORT}")
