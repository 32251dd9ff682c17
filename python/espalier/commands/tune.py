"""`espalier tune`: measure kernels of a model where it is expected to gain most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espalier.core.errors import InvalidInputError
from espalier.report import tables

from . import models
from .output import Outcome, note, shares, steps

INTERRUPTED = 130
OWN, PEER = "espalier", "metaschedule"


@dataclass(frozen=True)
class TuneOptions:
    """Arguments of the command, see `espalier.cli`."""

    budget: str = "60s"
    records: Path = Path("espalier-records.db")
    cost_model: str = "gp"
    search: str = "guided"
    tracker: str | None = None
    save_cost_model: Path | None = None
    seed: int = 0
    tuner: str = OWN


def run(model: Path, target: str, plan: models.PlanOptions, shapes: Sequence[str], how: TuneOptions) -> Outcome:
    """Tune a model; the outcome's exit code is 130 if it was interrupted."""
    from espalier.tuning.budget import Budget
    from espalier.tuning.tune import TuningOptions, tunable, tune

    budget, where = Budget.parse(how.budget), _where(how.tracker)
    _check_tuner(how)
    tunable(target)  # before anything is calibrated
    context = plan.context()
    with steps(3) as bar:
        bar.begin("reading the model")
        mod = models.read_model(model, shapes)
        calibration = models.calibrate(mod, context, bar)
    if how.tuner == PEER:
        return _of_peer(mod, target, context.plan(), calibration, how)
    save_model = how.save_cost_model and str(how.save_cost_model)
    options = TuningOptions(how.cost_model, how.search, how.seed, where, save_model)
    told = []
    try:
        with shares("tuning") as show:

            def tell(progress) -> None:
                told.append(progress)
                show(progress.share, _line(progress))

            result = tune(mod, target, context.plan(), calibration, how.records, budget, options, tell, _warn)
    except KeyboardInterrupt:
        trials = told[-1].trials if told else 0
        text = f"interrupted after {trials} trials, which are in {how.records}; the same command goes on from there"
        return Outcome({"interrupted": True, "trials": trials, "records": str(how.records)}, (text,), INTERRUPTED)
    return _outcome(result, model, how.records)


def _check_tuner(how: TuneOptions) -> None:
    """Refuse a tuner that there is not, and what MetaSchedule makes no use of."""
    if how.tuner not in (OWN, PEER):
        raise InvalidInputError(f"--tuner {how.tuner}: accepted are {OWN} and {PEER}")
    own = TuneOptions(how.budget, how.records, seed=how.seed, tuner=how.tuner)
    if how.tuner == PEER and how != own:
        raise InvalidInputError("--tuner metaschedule: it has its own search and cost model, and runs on this machine")


def _of_peer(mod, target: str, plan, calibration, how: TuneOptions) -> Outcome:
    from espalier.tuning.metaschedule import tune_with_metaschedule

    with shares("metaschedule") as show:

        def tell(progress) -> None:
            show(progress.share, f"{progress.result.trials} trials of {progress.result.work.layers[0]}")

        found = tune_with_metaschedule(mod, target, plan, calibration, how.records, how.budget, how.seed, tell, _warn)
    rows = [
        {"task": one.work.task.digest, "layers": list(one.work.layers), "trials": one.trials, "failed": one.failed,
         "best_s": one.seconds} for one in found
    ]  # fmt: skip
    shown = [
        (one["layers"][0], str(one["trials"]), str(one["failed"]),
         tables.duration(one["best_s"]) if one["best_s"] else tables.NONE) for one in rows
    ]  # fmt: skip
    table = tables.plain_table(("layers", ">trials", ">failed", ">best"), shown)
    text = f"MetaSchedule's best times are in {how.records}, to compare with; builds do not use its schedules"
    return Outcome({"tasks": rows, "records": str(how.records), "tuner": PEER}, (table, text))


def _outcome(result, model: Path, records: Path) -> Outcome:
    rows = [_row(state) for state in result.tasks]
    gain = result.rule_s / result.best_s if result.best_s else 1.0
    summary = (
        f"{model.name}: {result.trials} trials in {result.seconds:.1f} s, {result.end}; measured convolutions take "
        f"{tables.duration(result.best_s)} instead of {tables.duration(result.rule_s)} ({gain:.2f} times as fast)",
        f"Records are in {records}: espalier compile {model.name} --records {records} ...",
    )
    shown = [
        (
            one["layers"][0] + (f" (+{len(one['layers']) - 1})" if len(one["layers"]) > 1 else ""),
            f"{one['measured']}/{one['choices']}",
            tables.duration(one["rule_s"]) if one["rule_s"] else tables.NONE,
            tables.duration(one["best_s"]) if one["best_s"] else tables.NONE,
            one["best"] or tables.NONE,
        )
        for one in rows
    ]
    table = tables.plain_table(("layers", ">measured", ">by rule", ">best", "+choice"), shown)
    data = {"tasks": rows, "trials": result.trials, "seconds": result.seconds, "end": result.end}
    return Outcome(
        {**data, "rule_s": result.rule_s, "best_s": result.best_s, "records": str(records)}, (table, *summary)
    )


def _row(state) -> dict:
    best = state.best
    return {
        "task": state.work.task.digest,
        "layers": list(state.work.layers),
        "choices": len(state.work.space),
        "measured": len(state.seen),
        "rule": str(state.work.space[0].choice),
        "rule_s": state.rule_s,
        "best": str(best[0]) if best else None,
        "best_s": best[1] if best else None,
    }


def _line(progress) -> str:
    state = progress.state
    best = f"best {1e3 * state.best[1]:.3g} ms" if state.best else "nothing measured"
    return f"{progress.trials} trials, {state.work.layers[0]}: {best}"


def _warn(line: str) -> None:
    note(f"warning: {line}")


def _where(text: str | None):
    """The device that --tracker names."""
    from espalier.measure.devices import Local, Remote

    if text is None:
        return Local()
    address, _, key = text.partition("/")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not key:
        raise InvalidInputError(f"--tracker {text}: accepted is HOST:PORT/KEY, such as 127.0.0.1:9190/board")
    return Remote(host, int(port), key)
