from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import postgresql
import pytest

pytest.importorskip("optuna")

from search_problems import SPACE, problem, values_of

from espalier.core.choice_space import ChoiceSpace, point_text
from espalier.core.errors import EspalierError, InvalidInputError
from espalier.tuning.budget import Budget
from espalier.tuning.nas.problem import OBJECTIVES, Limit, objectives_of
from espalier.tuning.nas.samplers import SAMPLERS
from espalier.tuning.nas.study import FILE, Search, front_of

PROBLEMS = Path(__file__).parents[2] / "search_problems.py"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_finds_points_of_the_space(sampler):
    search = Search(problem(), None, sampler, 0)
    search.run(Budget(trials=24))
    found = search.evaluated
    assert len({one.text for one in found}) == len(found) >= 16
    assert len(found) + len(search.refused) == 24
    for one in found:
        SPACE.check(one.point)
        assert dict(one.values) == values_of(one.point)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_takes_a_single_objective(sampler):
    one = problem()
    search = Search(dataclasses.replace(one, objectives=one.objectives[:1]), None, sampler, 0)
    search.run(Budget(trials=26))
    (best,) = front_of(search.problem, search.evaluated)
    assert len(search.evaluated) + len(search.refused) == 26
    assert best.values["accuracy"].number == max(one.values["accuracy"].number for one in search.evaluated)


def test_a_small_space_is_searched_to_its_end():
    space = ChoiceSpace({"width": (0, 1), "depth": (0,), "format": ("small", "large")})
    search = Search(problem(space=space), None, "random", 0)
    assert search.run(Budget(trials=100)) == "every point of the space is evaluated"
    assert [one.point["width"] for one in front_of(search.problem, search.evaluated)] == [1, 0]


@pytest.mark.parametrize("sampler", ["random", "nsga2"])
def test_no_point_is_evaluated_twice_not_one_that_was_refused_either(sampler, tmp_path):
    space, asked = ChoiceSpace({"width": (6, 7), "depth": tuple(range(4)), "format": ("small", "large")}), []
    one = problem(space=space)
    counted = dataclasses.replace(one, evaluate=lambda point: (asked.append(point_text(point)), one.evaluate(point))[1])
    assert Search(counted, tmp_path, sampler, 0).run(Budget(trials=10)) == "the budget is spent"
    again = Search(counted, tmp_path, sampler, 0)
    assert again.run(Budget(trials=100)) == "every point of the space is evaluated"
    assert len(asked) == len(set(asked)) == space.size
    assert set(again.refused) == {text for text in asked if "width=7" in text}
    assert again.last_refusal == "width 7: accepted are 0 to 6"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_network_is_evaluated_once_however_idle_dimensions_are_drawn(sampler, tmp_path):
    space, asked = ChoiceSpace({"width": (0, 1), "depth": (0, 1), "format": ("large", "small")}, without_format), []

    def evaluate(point):
        asked.append(point_text(point))
        return values_of({"format": "small", **point})

    one = dataclasses.replace(problem(space=space), evaluate=evaluate)
    Search(one, tmp_path, sampler, 0).run(Budget(trials=3))
    again = Search(one, tmp_path, sampler, 1)
    assert again.run(Budget(trials=100)) == "every point of the space is evaluated"
    assert len(asked) == len(set(asked)) == space.size == 6
    assert {one.text for one in again.evaluated} == set(asked) >= {"width=0 depth=0", "width=1 depth=0"}


def without_format(point):
    """Idle where there is no block."""
    return ("format",) if point["depth"] == 0 else ()


def test_a_budget_that_others_have_overspent_ends(tmp_path):
    Search(problem(), tmp_path, "random", 0).run(Budget(trials=5))
    assert Search(problem(), tmp_path, "random", 1).run(Budget(trials=3)) == "the budget is spent"


def test_limits_hold_on_the_front():
    search = Search(problem("latency<=6ms", "accuracy>=0.6%"), None, "nsga2", 0)
    search.run(Budget(trials=40))
    for one in front_of(search.problem, search.evaluated):
        assert one.values["latency"].number <= 6e-3
        assert one.violation == 0


@pytest.mark.parametrize("sampler", ["random", "qlognehvi"])
def test_an_unreachable_limit_ends_with_the_nearest_point(sampler):
    search = Search(problem("accuracy>=99%"), None, sampler, 0)
    search.run(Budget(trials=30))
    (nearest,) = front_of(search.problem, search.evaluated)
    assert nearest.violation > 0
    assert nearest.values["accuracy"].number == max(one.values["accuracy"].number for one in search.evaluated)


def test_the_same_call_goes_on(tmp_path):
    first = Search(problem(), tmp_path, "random", 0)
    first.run(Budget(trials=5))
    told = []
    again = Search(problem(), tmp_path, "random", 1)
    again.run(Budget(trials=9), told.append)
    assert len(told) == 4
    assert [one.text for one in again.evaluated][: len(first.evaluated)] == [one.text for one in first.evaluated]


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request, tmp_path):
    """A folder, or the URL of a database."""
    if request.param == "sqlite":
        yield tmp_path
        return
    pytest.importorskip("psycopg")
    if not (postgresql.INITDB and postgresql.POSTGRES):
        pytest.skip("there is no PostgreSQL server to start")
    with postgresql.server() as url:
        yield url


def test_workers_share_a_study_and_one_may_die(storage):
    Search(problem(), storage, "random", 0)  # which makes the file
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [
        subprocess.Popen([sys.executable, str(PROBLEMS), str(storage), str(seed), "14"], env=environment)
        for seed in (1, 2)
    ]
    watched, deadline = Search(problem(), storage, "random", 3), time.monotonic() + 120
    while not watched.evaluated and time.monotonic() < deadline:
        time.sleep(0.05)
    workers[0].send_signal(signal.SIGKILL)
    assert workers[1].wait(120) == 0
    workers[0].wait(10)
    assert len(watched.evaluated) + len(watched.refused) >= 14


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://me:secret@127.0.0.1:1/none", "storage 127.0.0.1:1/none: cannot be opened"),
        ("postgresql://127.0.0.1:1/none?user=me&password=secret", "storage 127.0.0.1:1/none: cannot be opened"),
        ("nothing://127.0.0.1/none", "cannot be opened"),
        ("postgresql+pg8000://127.0.0.1/none", "for PostgreSQL install"),
    ],
)
def test_a_database_that_cannot_be_opened_is_one_line(url, words):
    with pytest.raises(EspalierError, match=words) as caught:
        Search(problem(), url, "random", 0)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [{"space": ChoiceSpace({"width": (1,), "depth": (1,), "format": ("small",)})}, {"limits": ("latency<=1ms",)}],
)
def test_a_study_of_another_problem_is_refused(tmp_path, change):
    Search(problem(), tmp_path, "random", 0)
    with pytest.raises(InvalidInputError, match=f"begun with {next(iter(change))}"):
        Search(problem(*change.pop("limits", ()), **change), tmp_path, "random", 0)


def test_a_study_of_another_version_is_refused(tmp_path):
    search = Search(problem(), tmp_path, "random", 0)
    search.study.set_user_attr("espalier", {"version": 0})
    with pytest.raises(InvalidInputError, match="another version"):
        Search(problem(), tmp_path, "random", 0)


def test_files_that_are_no_study_are_refused(tmp_path):
    (tmp_path / FILE).write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(InvalidInputError, match="no study"):
        Search(problem(), tmp_path, "random", 0)
    (tmp_path / "other").mkdir()
    with sqlite3.connect(tmp_path / "other" / FILE) as connection:
        connection.execute("create table version_info (schema_version integer)")
    with pytest.raises(InvalidInputError, match="no study"):
        Search(problem(), tmp_path / "other", "random", 0)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        Search(problem(), tmp_path / "file", "random", 0)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_limits_are_read_with_units(name):
    unit, scale = OBJECTIVES[name].unit, OBJECTIVES[name].scale
    limit = Limit.parse(f"{name} <= 2{unit}")
    assert (limit.objective.name, limit.number) == (name, 2 / scale)
    assert limit.violation(1 / scale) < 0 < limit.violation(3 / scale)
    assert Limit.parse(str(limit)) == limit
    assert Limit.parse(">=2", name).is_least


@pytest.mark.parametrize("text", ["", "accuracy", "accuracy=90", "speed<=1", "latency<=1%", "latency<=fast", ">=90%"])
def test_other_limits_are_refused(text):
    with pytest.raises(InvalidInputError, match="limit: got"):
        Limit.parse(text)


@pytest.mark.parametrize("names", [(), ("speed",), ("accuracy", "accuracy")])
def test_other_objectives_are_refused(names):
    with pytest.raises(InvalidInputError, match="objectives: got"):
        objectives_of(names)


def test_an_unknown_sampler_is_refused():
    with pytest.raises(InvalidInputError, match="accepted are auto, nsga2"):
        Search(problem(), None, "tpe", 0)
