"""MetaSchedule gets whole layers as one function of loops, and what it finds stays apart from our own records."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from models import plain_net
from oracles.tuning import conv_task
from tvm.s_tir.meta_schedule.arg_info import ArgInfo

import espalier
from espalier.codegen.cpu import trial
from espalier.core.errors import InvalidInputError, UnsupportedTargetError
from espalier.core.records import RecordFile
from espalier.targets.resolve import resolve_target
from espalier.tuning import metaschedule
from espalier.tuning.metaschedule import PeerResult, loops_of, tune_task, tune_with_metaschedule
from espalier.tuning.network_tasks import NetworkTask, network_tasks
from espalier.tuning.placeholder import placeholder_calibration

TARGET = {"kind": "llvm", "num-cores": 1}
TASK = conv_task(16, 16, 4, target=resolve_target(TARGET))


@pytest.fixture
def asked(monkeypatch) -> list:
    """(layers, trials) of each task that MetaSchedule was asked for, which takes a millisecond in its place."""
    calls = []

    def answer(work, folder, trials, seed) -> PeerResult:
        calls.append((work.layers, trials))
        return PeerResult(work, trials, 1, 1e-3, None)

    monkeypatch.setattr(metaschedule, "tune_task", answer)
    return calls


def test_a_layer_is_one_function_with_its_weight_free():
    loops = loops_of(TASK)
    assert [tuple(map(int, one.shape)) for one in ArgInfo.from_prim_func(loops)] == [
        (1, 16, 4, 4), (16, 16, 3, 3), (16,), (1, 16, 4, 4)
    ]  # fmt: skip
    assert [int(one) for one in loops.attrs["layout_free_buffers"]] == [1]


def test_the_function_computes_what_the_operator_means():
    loops, arrays = loops_of(TASK), trial.arrays_of(TASK)
    compiled = tvm.compile(tvm.IRModule({"main": loops.with_attr("global_symbol", "main")}), resolve_target(TARGET))
    tensors = [tvm.runtime.tensor(arrays[role]) for role in ("x", "weight", "bias")]
    out = tvm.runtime.tensor(np.zeros((1, 16, 4, 4), "float32"))
    compiled.mod["main"](*tensors, out)
    np.testing.assert_allclose(out.numpy(), trial.expected_of(TASK, arrays), rtol=1e-5, atol=1e-5)


def test_gated_layers_are_one_function_too_which_skips_nothing():
    mod, plan = espalier.from_onnx(plain_net()), espalier.Plan(density=0.5)
    gated = network_tasks(mod, resolve_target(TARGET), plan, placeholder_calibration(mod, plan))
    lists = [one.task for one in gated if "winners" in one.task.facts or "active" in one.task.facts]
    shapes = [[tuple(map(int, one.shape)) for one in ArgInfo.from_prim_func(loops_of(task))] for task in lists]
    assert [one[1] for one in shapes] == [tuple(task.facts["shapes"]["weight"]) for task in lists]
    assert len(shapes) == 2


def test_trials_are_shared_out_and_records_say_whose_they_are(asked, tmp_path):
    told = []
    mod, records = espalier.from_onnx(plain_net()), tmp_path / "records.db"
    tune_with_metaschedule(mod, TARGET, records=records, budget="9trials", tell=told.append)
    assert asked == [(("conv0",), 4), (("conv1",), 4)]
    assert [one.share for one in told] == [0.5, 1.0]
    with RecordFile(records) as file:
        found = file.read()
    assert [str(one.choice) for one in found] == ["metaschedule(trials=4)"] * 2
    assert {one.environment["tuner"] for one in found} == {"metaschedule"}
    plain, tuned = (espalier.build(mod, TARGET, records=one).report for one in (None, records))
    assert not [line for line in tuned if "of records.db" in line and line not in plain]
    ours = espalier.tune(mod, TARGET, records=records, budget="1trials")
    assert max(len(one.seen) for one in ours.tasks) == 1


def test_no_task_is_begun_after_the_time(asked, tmp_path):
    mod = espalier.from_onnx(plain_net())
    assert tune_with_metaschedule(mod, TARGET, records=tmp_path / "r", budget="0.000001s") == []
    assert asked == []


def test_what_is_refused(asked, tmp_path):
    mod = espalier.from_onnx(plain_net())
    with pytest.raises(InvalidInputError, match="got 1 trials for 2 tasks"):
        tune_with_metaschedule(mod, TARGET, records=tmp_path / "r", budget="1trials")
    with pytest.raises(UnsupportedTargetError, match="metaschedule: got the target cuda, accepted is llvm"):
        tune_with_metaschedule(mod, "nvidia/nvidia-h100", records=tmp_path / "r")
    assert asked == []


@pytest.mark.slow
def test_trials_are_run_and_a_later_call_goes_on_from_them(tmp_path):
    work = NetworkTask(TASK, (), ("conv",))
    first = tune_task(work, tmp_path, trials=2)
    assert first.trials == 2
    assert first.failed < 2  # some of its schedules do not compile
    again = tune_task(work, tmp_path, trials=2)
    assert (again.trials, again.seconds) == (2, first.seconds)
    assert tune_task(work, tmp_path, trials=3).trials == 3
    library = tvm.compile(first.module, resolve_target(TARGET)).mod
    assert library["main"] is not None
