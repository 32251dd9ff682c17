"""`espalier.tune`: a network and a budget to records, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tvm
from tvm.target import Target

from espalier.codegen.cuda.device import require_device
from espalier.core.calibration import Calibration
from espalier.core.errors import InvalidInputError, UnsupportedTargetError
from espalier.core.plan import Plan
from espalier.measure.devices import Local, Remote
from espalier.measure.environment import record_environment
from espalier.measure.threads import cores
from espalier.measure.trial_runner import Limits, TrialRunner
from espalier.measure.trials import CPU_KERNELS, CUDA_KERNELS
from espalier.targets.boards import KIND as FPGA
from espalier.targets.cpu import isa_of
from espalier.targets.gpu import gpu_of
from espalier.targets.resolve import resolve_target

from .budget import Budget
from .cost_model.choose import load_model, new_model
from .cost_model.features import CONVOLUTIONS
from .cost_model.gaussian_process import ResidualProcess
from .cost_model.gpu_features import GPU_CONVOLUTIONS
from .cost_model.interface import CostModel, Features
from .network_tasks import network_tasks
from .records import Notebook, opened
from .search.exhaustive import Exhaustive
from .search.guided import Guided
from .search.interface import Search
from .search.random_search import RandomSearch
from .tuner import Progress, TaskState, Tuner

BUILD_S = 600.0
"""For a library of GPU kernels: nvcc takes about 20 s for each tile that it has not compiled before."""

SEARCHES = {search.name: search for search in (Guided, Exhaustive, RandomSearch)}


@dataclass(frozen=True)
class TuningOptions:
    """How to tune.

    model: a cost model's name, or the path of a saved one.
    search: one of SEARCHES. seed: of what is drawn.
    where: the device. save_model: the path to save the trained cost model at, None to forget it.
    """

    model: str = ResidualProcess.name
    search: str = Guided.name
    seed: int = 0
    where: Local | Remote = Local()
    save_model: str | None = None


@dataclass(frozen=True)
class TuningResult:
    """What tuning found. tasks: their states. trials: that were run now. seconds: that it took. end: why it ended."""

    tasks: tuple[TaskState, ...]
    trials: int
    seconds: float
    end: str

    @property
    def rule_s(self) -> float:
        """Seconds of the network's convolutions as the analytic rule computes them, of the tasks that were measured."""
        return sum(len(one.work.layers) * one.rule_s for one in self._measured)

    @property
    def best_s(self) -> float:
        """The same with the best choices that are known."""
        return sum(len(one.work.layers) * one.best[1] for one in self._measured)

    @property
    def _measured(self) -> list[TaskState]:
        return [one for one in self.tasks if one.rule_s and one.best]


def tune(
    mod: tvm.IRModule,
    target="llvm",
    plan: Plan | None = None,
    calibration: Calibration | None = None,
    records=None,
    budget: Budget | str = "60s",
    options: TuningOptions | None = None,
    tell: Callable[[Progress], None] = lambda progress: None,
    warn: Callable[[str], None] = lambda line: None,
) -> TuningResult:
    """Measure kernels of a network where it is expected to gain most.

    mod, target, plan, calibration: as `build` takes them; kernels run on as many threads as the target has cores.
    records: the file to read and to append to; None keeps what is measured only in the result.
    budget: such as "60s" or "200trials". tell: is told of every batch. warn: is told what went wrong with the file.
    Ctrl-C (KeyboardInterrupt) ends it in the middle of a batch; all batches before are in the file, and a later call
    goes on from there.

    For a target cuda the kernels run on this machine's GPU, or on that of a device that waits at a tracker.

    Raises InvalidInputError, ToolNotFoundError, UnsupportedTargetError without a GPU, and what `build` raises.
    """
    options = options or TuningOptions()
    budget = Budget.parse(budget) if isinstance(budget, str) else budget
    budget.start()
    resolved, search = tunable(target), _search(options.search)
    on_gpu = str(resolved.kind.name) == "cuda"
    model = _model(options.model, GPU_CONVOLUTIONS if on_gpu else CONVOLUTIONS)
    if not on_gpu:
        _check_threads(isa_of(resolved).cores, options.where)
    elif isinstance(options.where, Local):
        require_device(gpu_of(resolved).arch)
    kernels = CUDA_KERNELS if on_gpu else CPU_KERNELS
    limits = Limits(build_s=BUILD_S) if on_gpu else None
    with opened(records) as file, TrialRunner(options.where, limits=limits, kernels=kernels) as runner:
        tasks = network_tasks(mod, resolved, plan, calibration)
        environment = record_environment(options.where.name, str(resolved.kind.name))
        tuner = Tuner(tasks, runner, Notebook(file, warn), environment, model, search, options.seed)
        end = tuner.run(budget, tell)
    if options.save_model:
        model.save(options.save_model)
    return TuningResult(tuple(tuner.states), budget.spent_trials, budget.seconds_spent(), end)


def tunable(target) -> Target:
    """The target, of which kernels can be measured; UnsupportedTargetError if it is an FPGA."""
    resolved = resolve_target(target)
    if str(resolved.kind.name) == FPGA:
        raise UnsupportedTargetError(
            f"tuning: got {target}, whose design follows from its models at every build, accepted are llvm and cuda"
        )
    return resolved


def _model(name: str, features: Features) -> CostModel:
    return load_model(name, features) if "." in name else new_model(name, features)


def _search(name: str) -> Search:
    if name not in SEARCHES:
        raise InvalidInputError(f"search: got {name!r}, accepted are {', '.join(SEARCHES)}")
    return SEARCHES[name]()


def _check_threads(wanted: int, where: Local | Remote) -> None:
    """Refuse a target of more cores than this machine lends."""
    if isinstance(where, Local) and wanted > len(cores()):
        raise InvalidInputError(
            f"tuning: the target has {wanted} cores, this machine lends {len(cores())}; accepted is such as "
            f'{{"kind": "llvm", "num-cores": {len(cores())}}}'
        )
