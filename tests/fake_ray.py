"""A Ray cluster without processes: what `RayWorkers` asks of the package, and errors where a test wants them."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from espalier.tuning.nas import workers


class FakeRay:
    """processors: of the cluster. outcomes: of the evaluations in turn, an error or None for its values; then None.

    answers: how many more requests it answers before it is gone, with the error `gone`.
    """

    def __init__(self, processors: int, *outcomes: Exception | None):
        self.exceptions = pytest.importorskip("ray").exceptions
        self.processors, self.outcomes, self.is_connected = processors, list(outcomes), True
        self.answers, self.gone = 1000, ConnectionError("gone\nfor good")

    def _request(self) -> None:
        self.answers -= 1
        if self.answers < 0:
            raise self.gone

    def cluster_resources(self) -> dict[str, float]:
        self._request()
        return {"CPU": float(self.processors)}

    def put(self, one):
        self._request()
        return one

    def remote(self, num_cpus: int):
        return lambda kind: SimpleNamespace(remote=self._actor)

    def shutdown(self) -> None:
        self.is_connected = False
        self._request()

    def _actor(self, evaluation):
        self._request()

        def remote(point):
            self._request()
            return SimpleNamespace(future=lambda: self._evaluated(evaluation, point))

        return SimpleNamespace(evaluate=SimpleNamespace(remote=remote))

    def _evaluated(self, evaluation, point) -> Future:
        future, error = Future(), self.outcomes.pop(0) if self.outcomes else None
        if error:
            future.set_exception(error)
        else:
            future.set_result((evaluation.away(point), ""))
        return future


def use_fake_ray(monkeypatch, processors: int, *outcomes: Exception | None) -> FakeRay:
    """Instead of any cluster."""
    fake = FakeRay(processors, *outcomes)
    monkeypatch.setattr(workers, "_connected", lambda address: fake)
    return fake


def task_error(cause: Exception) -> Exception:
    """What Ray makes of an error that nobody expected in an actor that lives on."""
    ray = pytest.importorskip("ray")
    text = f"Traceback (most recent call last):\n{type(cause).__name__}: {cause}"
    return ray.exceptions.RayTaskError("evaluate", text, cause, "worker", 1, "127.0.0.1").as_instanceof_cause()
