"""MetaSchedule, TVM's own tuner, as a peer: the same tasks, its schedules, its search.

It schedules a task's reference body (contract 1), legalized and fused into one function of loops; weights may come in
the layout that its schedule wants, as ours do. The body of a gated layer computes every channel and multiplies those
that rest by zero, so there it skips nothing. A body that becomes several functions is left out. Builds do not use its
schedules, and its records say in their environment whose they are.
Shao et al., Tensor Program Optimization with Probabilistic Programs, NeurIPS 2022.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tvm
from tvm import tirx
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock
from tvm.target import Target

from espalier.codegen.cpu.spaces import convolution_of
from espalier.codegen.cpu.trial import body_module, cores_of
from espalier.codegen.phases import loops_phase
from espalier.core.calibration import Calibration
from espalier.core.choices import Choice, Task
from espalier.core.errors import InvalidInputError, UnsupportedTargetError
from espalier.core.plan import Plan
from espalier.core.records import Record
from espalier.measure.environment import record_environment
from espalier.targets.resolve import resolve_target

from .budget import Budget
from .network_tasks import NetworkTask, network_tasks
from .records import Notebook, now, opened

NAME = "metaschedule"

TRIALS, BATCH = 64, 16
"""Of a task unless the budget says otherwise, and between two fits of its cost model."""

LIMIT_S = 120.0
"""For a build or a run, the start of the worker included; TVM's 30 s do not suffice on a busy machine."""

ROUND_MS = 50
"""A time is the mean of runs that last as long together."""


@dataclass(frozen=True)
class PeerResult:
    """What MetaSchedule found for a task. trials: all that were ever run. failed: those without a time.

    seconds: of its best; None if it has none. module: of that schedule, weights in its layout.
    """

    work: NetworkTask
    trials: int
    failed: int
    seconds: float | None
    module: tvm.IRModule | None


@dataclass(frozen=True)
class PeerProgress:
    """After a task. share: of the work that is done."""

    result: PeerResult
    share: float


def tune_with_metaschedule(
    mod: tvm.IRModule,
    target="llvm",
    plan: Plan | None = None,
    calibration: Calibration | None = None,
    records="espalier-records.db",
    budget: Budget | str = "60s",
    seed: int = 0,
    tell: Callable[[PeerProgress], None] = lambda progress: None,
    warn: Callable[[str], None] = lambda line: None,
) -> list[PeerResult]:
    """Tune a network's convolutions one after the other; those that cannot be tuned are not in the result.

    Arguments as of `tune`. budget: a number of trials is shared out evenly; of a number of seconds each task takes
    TRIALS trials, and none is begun when they are over. Its databases lie in a folder beside the records, and a later
    call goes on from them. Errors as from `tune`.
    """
    resolved = resolve_target(target)
    if str(resolved.kind.name) != "llvm":
        raise UnsupportedTargetError(f"metaschedule: got the target {resolved.kind.name}, accepted is llvm")
    limit = Budget.parse(budget) if isinstance(budget, str) else budget
    tasks = [one for one in network_tasks(mod, resolved, plan, calibration) if loops_of(one.task)]
    share, found, folder = _share(limit, len(tasks)), [], Path(f"{records}.{NAME}")
    environment = {**record_environment(), "tuner": NAME}
    limit.start()
    with opened(records) as file:
        book = Notebook(file, warn)
        for number, one in enumerate(tasks, 1):
            if limit.seconds is not None and limit.seconds_spent() > limit.seconds:
                break
            result = tune_task(one, folder, share, seed)
            found.append(result)
            if result.seconds:
                book.add([record_of(result, environment)])
            tell(PeerProgress(result, number / len(tasks)))
    return found


def _share(budget: Budget, tasks: int) -> int:
    if budget.trials is None:
        return TRIALS
    if budget.trials < tasks:
        raise InvalidInputError(f"metaschedule: got {budget.trials} trials for {tasks} tasks, accepted is one for each")
    return budget.trials // max(1, tasks)


def record_of(result: PeerResult, environment) -> Record:
    """The record of the best schedule."""
    choice = Choice(NAME, (("trials", result.trials),))
    return Record(result.work.task, choice, environment, "ok", result.seconds, 0.0, 1, "", now())


def tune_task(work: NetworkTask, folder: Path, trials: int = TRIALS, seed: int = 0) -> PeerResult:
    """Run trials of a task until there are so many in its database in the folder, and return the best."""
    place, target = folder / work.task.digest, resolve_target(work.task.device)
    place.mkdir(parents=True, exist_ok=True)
    database, loops = ms.database.JSONDatabase(work_dir=str(place)), loops_of(work.task)
    missing = trials - len(database)
    if missing > 0:
        with _threads(cores_of(work.task)):
            _search(loops, target, database, place, missing, seed)
    return _result(work, database, loops, target)


def _search(loops: tirx.PrimFunc, target: Target, database, place: Path, trials: int, seed: int) -> None:
    """Trials that go into the database."""
    context = ms.TuneContext(
        mod=loops,
        target=target,
        space_generator="post-order-apply",
        search_strategy="evolutionary",
        task_name="main",
        rand_state=seed + 1,
        num_threads=1,
    )
    config = ms.runner.EvaluatorConfig(number=1, repeat=1, min_repeat_ms=ROUND_MS)
    ms.tune.tune_tasks(
        tasks=[context.clone()],
        task_weights=[1.0],
        work_dir=str(place),
        max_trials_global=trials,
        num_trials_per_iter=min(BATCH, trials),
        builder=ms.builder.LocalBuilder(max_workers=1, timeout_sec=LIMIT_S),
        runner=ms.runner.LocalRunner(timeout_sec=LIMIT_S, evaluator_config=config),
        database=database,
    )


def _result(work: NetworkTask, database, loops: tirx.PrimFunc, target: Target) -> PeerResult:
    every = database.get_all_tuning_records()
    seconds = [min(float(one) for one in record.run_secs) for record in every if record.run_secs]
    good = [one for one in seconds if one < LIMIT_S]
    module = None
    if good:
        schedule = database.query_schedule(_as_module(loops), target, "main")
        module = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(schedule.mod)
    return PeerResult(work, len(every), len(every) - len(good), min(good, default=None), module)


def loops_of(task: Task) -> tirx.PrimFunc | None:
    """The task's reference body as one function of loops; None if it is several."""
    target = resolve_target(task.device)
    with target:
        mod = tvm.transform.Sequential(loops_phase())(body_module(convolution_of(task)))
    functions = [one for one in mod.functions.values() if isinstance(one, tirx.PrimFunc)]
    calls = [one.value for block in mod["main"].body.blocks for one in block.bindings]
    if len(functions) != 1 or len(calls) != 1:
        return None
    names = [argument.name for argument in calls[0].args[1]]
    return functions[0].with_attr("layout_free_buffers", [names.index("weight")])


def _as_module(loops: tirx.PrimFunc) -> tvm.IRModule:
    """As a `TuneContext` keeps it: by this the database knows it."""
    return tvm.IRModule({"main": loops.with_attrs({"global_symbol": "main", "tirx.noalias": True})})


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Worker processes that are started meanwhile run kernels on so many threads."""
    name = "TVM_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = str(count)
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
