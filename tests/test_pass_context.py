"""espalier.PassContext: our flags are checked, TVM's are passed on."""

import json
import threading

import numpy as np
import pytest
import tvm

from espalier.core.calibration import Calibration, Gate
from espalier.core.errors import EspalierError, InvalidInputError, InvalidPlanError
from espalier.core.plan import Plan
from espalier.pass_context import FLAGS, PassContext


def flags(**values) -> PassContext:
    return PassContext(config={f"espalier.{name}": value for name, value in values.items()})


def test_nothing_is_active_outside():
    assert PassContext.current() is None


def test_enters_tvms_context_with_its_keys():
    with PassContext(opt_level=2, config={"tirx.disable_vectorize": True}, required_pass=["A"]):
        inner = tvm.transform.PassContext.current()
        assert inner.opt_level == 2
        assert inner.config["tirx.disable_vectorize"]
        assert list(inner.required_pass) == ["A"]
    assert tvm.transform.PassContext.current().opt_level != 2 or "tirx.disable_vectorize" not in (
        tvm.transform.PassContext.current().config
    )


def test_innermost_is_current_and_a_context_can_be_entered_again():
    outer, inner = flags(density=0.5), flags(density=0.25)
    with outer:
        with inner, inner:
            assert PassContext.current() is inner
        assert PassContext.current() is outer
    assert PassContext.current() is None


def test_left_after_an_error():
    with pytest.raises(KeyError), flags(density=0.5):
        raise KeyError
    assert PassContext.current() is None


def test_another_thread_sees_none():
    seen = []
    with flags(density=0.5):
        thread = threading.Thread(target=lambda: seen.append(PassContext.current()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_default_plan_is_dense():
    assert PassContext().plan() == Plan()
    assert PassContext().calibration() is PassContext().calibration_inputs() is PassContext().records() is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("density", 0.5),
        ("granularity", 4),
        ("placement", "sum"),
        ("weights", "focused<5>"),
        ("activations", "float32"),
    ],
)
def test_each_flag_sets_the_plans_default(name, value):
    assert f"espalier.{name}" in FLAGS
    assert getattr(flags(**{name: value}).plan(), name) == value


def test_activations_follow_the_weights_of_the_flags():
    assert flags(weights="uniform<4>").plan().default.activations == "uniform<8>"
    assert flags(plan=Plan(weights="shift<4>"), weights="bfloat16").plan().default.activations == "bfloat16"
    with pytest.raises(InvalidPlanError, match=r"activations: got uniform<4> with weights in float32, accepted is f"):
        flags(plan=Plan(weights="shift<4>", activations="uniform<4>"), weights="float32")


def test_flags_override_the_plan_and_its_layers_stay(tmp_path):
    plan = Plan(density=0.75, granularity=4, layers={"conv0": {"density": 1.0}})
    plan.save(tmp_path / "plan.json")
    for given in (plan, plan.to_dict(), tmp_path / "plan.json", str(tmp_path / "plan.json")):
        assert flags(plan=given).plan() == plan
        merged = flags(plan=given, density=0.5).plan()
        assert merged == Plan(density=0.5, granularity=4, layers={"conv0": {"density": 1.0}})


def test_calibration_given_as_value_or_saved(tmp_path):
    calibration = Calibration({"conv0": Gate(np.zeros((3, 8), np.float32), np.zeros(8, np.float32))})
    calibration.save(tmp_path / "gates.npz")
    assert flags(calibration=calibration).calibration() is calibration
    loaded = flags(calibration=tmp_path / "gates.npz")
    assert list(loaded.calibration().gates) == ["conv0"]
    assert loaded.calibration_inputs() is None


def test_calibration_given_as_inputs(tmp_path):
    x = np.ones((4, 3, 8, 8), np.float32)
    np.savez(tmp_path / "one.npz", x)
    np.savez(tmp_path / "two.npz", a=x, b=x)
    np.save(tmp_path / "plain.npy", x)
    for given in (x, tmp_path / "one.npz", tmp_path / "plain.npy"):
        context = flags(calibration=given)
        np.testing.assert_array_equal(context.calibration_inputs(), x)
        assert context.calibration() is None
    for given in ({"a": x, "b": x}, str(tmp_path / "two.npz")):
        assert sorted(flags(calibration=given).calibration_inputs()) == ["a", "b"]


def test_records_is_the_path_of_a_file(tmp_path):
    path = tmp_path / "records.json"
    path.write_text("")
    assert flags(records=str(path)).records() == path
    with pytest.raises(InvalidInputError, match="espalier.records: got 'absent'"):
        flags(records="absent")


def test_unknown_flag_suggests_the_closest():
    with pytest.raises(EspalierError, match="unknown key 'espalier.densty'.*did you mean espalier.density") as error:
        flags(densty=0.5)
    assert "\n" not in str(error.value)
    assert all(flag in str(error.value) for flag in FLAGS)


def test_unknown_tvm_key():
    with pytest.raises(InvalidInputError, match="'tirx.disable_vectorise'.*did you mean tirx.disable_vectorize"):
        PassContext(config={"tirx.disable_vectorise": True})


def test_wrong_type_of_a_tvm_key():
    with pytest.raises(InvalidInputError, match="tirx.disable_vectorize") as error:
        PassContext(config={"tirx.disable_vectorize": "yes"})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("density", [0, -1, 1.5, "half", True])
def test_impossible_density(density):
    with pytest.raises(InvalidPlanError, match=r"density: got .* accepted is a number in \(0, 1\]"):
        flags(density=density)


@pytest.mark.parametrize("plan", ["absent.json", 3, {"version": 1, "layerz": {}}])
def test_impossible_plan(plan):
    with pytest.raises(EspalierError, match="plan|layerz"):
        flags(plan=plan)


def test_plan_that_is_no_json(tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps({"version": 1})[:-1])
    with pytest.raises(InvalidPlanError, match="not a JSON text"):
        flags(plan=tmp_path / "plan.json")


def test_impossible_calibration(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 cut")
    np.savez(tmp_path / "empty.npz")
    broken, empty = tmp_path / "broken.npz", tmp_path / "empty.npz"
    for given, message in ((3, "got int"), (broken, "broken.npz: cannot be read"), (empty, "no array")):
        with pytest.raises(InvalidInputError, match=message):
            flags(calibration=given)
    with pytest.raises(InvalidInputError, match="espalier.calibration .*absent.npz: cannot be read .No such file"):
        flags(calibration=tmp_path / "absent.npz")
