"""Evaluations by several workers: threads of this process, and those of a Ray cluster on this machine alone."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from fake_ray import task_error, use_fake_ray
from postgresql import free_port
from search_problems import SPACE, Divided, problem, values_of

from espalier.core.choice_space import ChoiceSpace, point_text
from espalier.core.errors import EspalierError, InvalidInputError
from espalier.tuning.budget import Budget
from espalier.tuning.nas import workers
from espalier.tuning.nas.study import Search
from espalier.tuning.nas.workers import ATTEMPTS, DEATHS, RayWorkers, WorkerDiedError, Workers

STARTED_S = 90.0


class Threads(Workers):
    """Three at a time. dying: how many of the first evaluations end in a worker's death; fatal: the text of a point of
    which each does."""

    count = 3

    def __init__(self, evaluate, dying: int = 0, fatal: str = ""):
        self.fatal = fatal
        self.pool, self.one, self.dying = ThreadPoolExecutor(self.count), evaluate, dying
        self.begun, self.most, self.running = [], 0, 0

    def submit(self, point):
        self.running += 1
        self.most = max(self.most, self.running)
        self.begun.append(point_text(point))
        return self.pool.submit(self._evaluate, point)

    def values(self, point, future):
        self.running -= 1
        if self.dying:
            self.dying -= 1
            raise WorkerDiedError("worker: died (a test)", is_last=self.dying == 0 and len(self.begun) >= DEATHS)
        if point_text(point) == self.fatal:
            raise WorkerDiedError("worker: died (a test)")
        found = future.result()
        if isinstance(found, EspalierError):
            raise found
        return found

    def _evaluate(self, point):
        time.sleep(0.01)
        try:
            return self.one(point)
        except EspalierError as error:
            return error


@pytest.mark.parametrize("sampler", ["random", "nsga2", "qlognehvi"])
def test_no_point_is_evaluated_twice_and_the_budget_is_kept(sampler):
    search, workers = Search(problem(), None, sampler, 0), Threads(problem().evaluate)
    assert search.run(Budget(trials=25), None, workers) == "the budget is spent"
    assert len(workers.begun) == len(set(workers.begun)) == 25
    assert len(search.evaluated) + len(search.refused) == 25
    assert workers.most == 3


def test_a_small_space_is_searched_to_its_end():
    space = ChoiceSpace({"width": (0, 7), "depth": (0, 1), "format": ("small",)})
    search, workers = Search(problem(space=space), None, "random", 0), Threads(problem().evaluate)
    assert search.run(Budget(trials=100), None, workers) == "every point of the space is evaluated"
    assert (len(search.evaluated), len(search.refused), len(workers.begun)) == (2, 2, 4)


def test_a_point_whose_worker_died_may_be_evaluated_again():
    space = ChoiceSpace({"width": (0, 1), "depth": (0, 1), "format": ("small",)})
    search, workers, told = Search(problem(space=space), None, "random", 0), Threads(problem().evaluate, 1), []
    search.run(Budget(trials=100), told.append, workers)
    assert len(search.evaluated) == 4
    assert search.refused == {}
    assert [one.refused for one in told if one.last is None] == ["worker: died (a test)"]


def test_a_point_whose_worker_died_twice_is_refused():
    space = ChoiceSpace({"width": (0, 1), "depth": (0, 1), "format": ("small",)})
    fatal = point_text({"width": 1, "depth": 0, "format": "small"})
    search, workers = Search(problem(space=space), None, "random", 0), Threads(problem().evaluate, fatal=fatal)
    assert search.run(Budget(trials=100), None, workers) == "every point of the space is evaluated"
    assert workers.begun.count(fatal) == 2
    assert search.refused == {fatal: "worker: died (a test), 2 times with this point"}
    assert len(search.evaluated) == 3


def test_workers_that_all_die_end_a_search():
    search = Search(problem(), None, "random", 0)
    with pytest.raises(WorkerDiedError):
        search.run(Budget(trials=100), None, Threads(problem().evaluate, DEATHS))
    assert search.evaluated == []


@pytest.mark.parametrize("address", ["127.0.0.1:10001", "http://127.0.0.1:10001", "ray://", "ray://[", "ray://h:99999"])
def test_what_is_no_address_is_refused(address, tmp_path):
    with pytest.raises(InvalidInputError, match="accepted is such as ray://"):
        RayWorkers(address, Divided(tmp_path))


def test_a_cluster_that_does_not_answer_is_refused(tmp_path):
    pytest.importorskip("ray")
    with pytest.raises(InvalidInputError, match="no Ray cluster answers"):
        RayWorkers(f"ray://127.0.0.1:{free_port()}", Divided(tmp_path))


@pytest.mark.parametrize("failures", [1, ATTEMPTS])
def test_a_cluster_whose_process_for_a_client_fails_is_asked_again(monkeypatch, failures):
    ray = pytest.importorskip("ray")
    outcomes = [ConnectionAbortedError("Initialization failure from server:\na zombie")] * failures

    def init(*words, **more):
        if outcomes:
            raise outcomes.pop()

    monkeypatch.setattr(ray, "init", init)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"ray://127.0.0.1:{server.getsockname()[1]}"
        if failures < ATTEMPTS:
            assert workers._connected(address) is ray
        else:
            with pytest.raises(InvalidInputError, match="no Ray cluster answers .a zombie."):
                workers._connected(address)
    assert outcomes == []


def test_a_cluster_without_processors_is_refused_and_let_go(monkeypatch, tmp_path):
    fake = use_fake_ray(monkeypatch, 0)
    with pytest.raises(InvalidInputError, match="no processors"):
        RayWorkers("ray://fake", Divided(tmp_path))
    assert not fake.is_connected


POINTS = [{"width": width, "depth": 0, "format": "small"} for width in range(7)]


def test_one_lost_machine_does_not_end_a_search(monkeypatch, tmp_path):
    ray = pytest.importorskip("ray")
    fake = use_fake_ray(monkeypatch, 7, *[ray.exceptions.ActorDiedError() for _ in range(DEATHS)])
    workers = RayWorkers("ray://fake", Divided(tmp_path))
    begun = [(point, workers.submit(point)) for point in POINTS]
    fake.processors -= DEATHS
    for point, future in begun[:DEATHS]:
        with pytest.raises(WorkerDiedError, match="worker: died") as caught:
            workers.values(point, future)
        assert not caught.value.is_last
    for point, future in begun[DEATHS:]:
        assert set(workers.values(point, future)) == {"accuracy", "latency"}
    assert workers.count == len(workers.idle) == 7 - DEATHS


def test_a_cluster_whose_last_machine_is_lost_ends_a_search(monkeypatch, tmp_path):
    ray = pytest.importorskip("ray")
    fake = use_fake_ray(monkeypatch, 1, ray.exceptions.ActorDiedError())
    workers = RayWorkers("ray://fake", Divided(tmp_path))
    future, fake.processors = workers.submit(POINTS[0]), 0
    with pytest.raises(WorkerDiedError, match="no processors left") as caught:
        workers.values(POINTS[0], future)
    assert caught.value.is_last


def test_a_worker_that_fails_otherwise_is_told_and_asked_again(monkeypatch, tmp_path):
    ray = pytest.importorskip("ray")
    outcomes = (task_error(ValueError("odd")), ray.exceptions.OutOfMemoryError("full"), None)
    use_fake_ray(monkeypatch, 1, *outcomes, *[task_error(ConnectionError("odd"))] * DEATHS)
    workers = RayWorkers("ray://fake", Divided(tmp_path))
    (actor,) = workers.idle
    for words in (r"worker: failed \(ValueError: odd\)", r"worker: died \(full\)"):
        with pytest.raises(WorkerDiedError, match=words) as caught:
            workers.values(POINTS[0], workers.submit(POINTS[0]))
        assert not caught.value.is_last
        assert (workers.idle == [actor]) == ("failed" in words)
    assert workers.values(POINTS[0], workers.submit(POINTS[0]))
    ends = []
    for _ in range(DEATHS):
        with pytest.raises(WorkerDiedError) as caught:
            workers.values(POINTS[0], workers.submit(POINTS[0]))
        ends.append(caught.value.is_last)
    assert ends == [False] * (DEATHS - 1) + [True]
    assert str(caught.value) == f"workers: {DEATHS} failed one after the other (ConnectionError: odd)"


def of_grpc() -> Exception:
    try:
        from grpc import RpcError as kind
    except ImportError:
        return ConnectionError("gone\nfor good")
    return kind("gone\nfor good")


@pytest.mark.parametrize("gone", [ConnectionError("gone\nfor good"), of_grpc()], ids=["connection", "rpc"])
@pytest.mark.parametrize("answers", range(7))
def test_a_cluster_that_goes_away_is_one_line_whenever_it_does(monkeypatch, tmp_path, answers, gone):
    """Asked for its processors, for the evaluation, for a worker, for a point's values and for another worker."""
    ray = pytest.importorskip("ray")
    fake = use_fake_ray(monkeypatch, 1, ray.exceptions.ActorDiedError(), gone)
    fake.answers, fake.gone = answers, gone

    def evaluate_twice() -> list[bool]:
        """Whether each worker that died was the last one."""
        ends = []
        with contextlib.closing(RayWorkers("ray://fake", Divided(tmp_path))) as workers:
            for _ in range(2):
                with pytest.raises(WorkerDiedError) as caught:
                    workers.values(POINTS[0], workers.submit(POINTS[0]))
                ends.append(caught.value.is_last)
                if caught.value.is_last:
                    assert str(caught.value) == "workers: the cluster no longer answers (gone)"
                    break
        return ends

    if answers < 3:
        with pytest.raises(WorkerDiedError, match=r"workers: the cluster no longer answers \(gone\)$"):
            evaluate_twice()
    else:
        assert evaluate_twice() == ([True] if answers < 6 else [False, True])
    assert not fake.is_connected


OF_GRPC = """GRPC connection failed: <_InactiveRpcError of RPC that terminated with:
\tstatus = StatusCode.UNAVAILABLE
\tdetails = "failed to connect to all addresses"
\tdebug_error_string = "UNAVAILABLE"
>"""


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        (ConnectionError(OF_GRPC), "failed to connect to all addresses"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_why_a_cluster_is_gone_is_told_however_it_says_so(monkeypatch, tmp_path, gone, words):
    fake = use_fake_ray(monkeypatch, 1)
    fake.answers, fake.gone = 0, gone
    with pytest.raises(WorkerDiedError) as caught:
        RayWorkers("ray://fake", Divided(tmp_path))
    assert str(caught.value) == f"workers: the cluster no longer answers ({words})"


@pytest.fixture(scope="module")
def cluster():
    """The address of a cluster of two processors."""
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:  # paths of sockets are short
        yield from _started(folder)


def _started(folder: str):
    """A cluster that knows of no other one, a developer's above all."""
    pytest.importorskip("ray")
    pytest.importorskip("grpc")
    port, tests = free_port(), str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, *sys.path]), "RAY_USAGE_STATS_ENABLED": "0"}
    words = ("--head", "--node-ip-address=127.0.0.1", f"--port={free_port()}", f"--ray-client-server-port={port}")
    more = (f"--temp-dir={folder}", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats", "--block")
    ray = Path(sys.executable).with_name("ray")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([ray, "start", *words, *more], env=environment, start_new_session=True, **quiet)
    try:
        _wait(process, port)
        yield f"ray://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STARTED_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen, port: int) -> None:
    deadline = time.monotonic() + STARTED_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None, "the cluster ended"
            assert time.monotonic() < deadline, "the cluster does not answer"
            time.sleep(0.2)


def test_a_cluster_evaluates_while_one_of_its_workers_dies_and_stops_when_all_do(cluster, tmp_path):
    with contextlib.closing(RayWorkers(cluster, Divided(tmp_path))) as workers:
        search = Search(problem(), tmp_path, "random", 0)
        assert search.run(Budget(trials=30), None, workers) == "the budget is spent"
        (tmp_path / "doomed").touch()
        with pytest.raises(WorkerDiedError, match=f"workers: {DEATHS} died one after the other"):
            Search(problem(), None, "random", 0).run(Budget(trials=30), None, workers)
    assert (tmp_path / "died").exists()
    assert len(search.evaluated) + len(search.refused) == 30
    assert all("width=7" in text for text in search.refused)
    processes = set()
    for one in search.evaluated:
        SPACE.check(one.point)
        assert {name: value.number for name, value in one.values.items()} == {
            name: value.number for name, value in values_of(one.point).items()
        }
        assert one.values["latency"].how == f"process {os.getpid()}"
        processes.add(one.values["accuracy"].how)
    assert len(processes) >= 2
    assert f"process {os.getpid()}" not in processes
