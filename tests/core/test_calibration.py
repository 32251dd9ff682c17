"""Gates are checked, and a calibration survives the trip to a file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from espalier.core.calibration import MODES, Calibration, Gate, LayerWeights, Range, digest
from espalier.core.errors import InvalidInputError
from espalier.core.formats import Focused
from espalier.core.quantized_weights import QuantizedWeights

finite = st.floats(-1e6, 1e6, width=32)
names = st.text("abcdefgh0123456789./_-:", min_size=1, max_size=12)


@st.composite
def gates(draw) -> Gate:
    c_in, c_out = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    phi = draw(arrays.arrays(np.float32, (c_in, c_out), elements=finite))
    rho = draw(arrays.arrays(np.float32, c_out, elements=finite))
    return Gate(phi, rho, draw(st.sampled_from(MODES)))


@st.composite
def layer_weights(draw) -> LayerWeights:
    shape = draw(arrays.array_shapes(min_dims=2, max_dims=4, max_side=4))
    weight = draw(arrays.arrays(np.float32, shape, elements=finite))
    return LayerWeights(weight, draw(arrays.arrays(np.float32, shape[0], elements=finite)))


@st.composite
def codes(draw) -> QuantizedWeights:
    levels, components = draw(st.sampled_from([([-4, -1, 0, 1, 4], ((-3, 1), (2, 2))), ([-2, 0, 1], ())]))
    shape = draw(arrays.array_shapes(min_dims=2, max_dims=4, max_side=4))
    chosen = draw(arrays.arrays(np.uint8, shape, elements=st.integers(0, len(levels) - 1)))
    scale = draw(arrays.arrays(np.float32, shape[0], elements=st.floats(0.125, 8, width=32)))
    return QuantizedWeights(Focused(4), chosen, np.array(levels, np.int8), scale, components=components)


ranges = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2).map(sorted)

calibrations = st.builds(
    Calibration,
    gates=st.dictionaries(names, gates(), max_size=3),
    weights=st.dictionaries(names, layer_weights(), max_size=3),
    model_digest=st.text(),
    inputs_digest=st.text(),
    remarks=st.lists(st.text(), max_size=3).map(tuple),
    ranges=st.dictionaries(names, ranges.map(lambda ends: Range(*ends)), max_size=3),
    quantized=st.dictionaries(names, codes(), max_size=3),
)


def small() -> Calibration:
    gate = Gate(np.ones((3, 4), np.float32), np.zeros(4, np.float32), "boost")
    weights = LayerWeights.of(np.ones((4, 3, 1, 1), np.float32), None)
    return Calibration({"block/conv1": gate}, {"block/conv2": weights}, "abc", "def", ("a remark",))


@given(calibrations)
def test_file_round_trip(tmp_path_factory, calibration):
    path = tmp_path_factory.mktemp("calibration") / "gates.npz"
    calibration.save(path)
    back = Calibration.load(path)
    assert back.gates.keys() == calibration.gates.keys()
    for name, gate in calibration.gates.items():
        np.testing.assert_array_equal(back.gates[name].phi, gate.phi, strict=True)
        np.testing.assert_array_equal(back.gates[name].rho, gate.rho, strict=True)
        assert back.gates[name].mode == gate.mode
    assert back.weights.keys() == calibration.weights.keys()
    for name, one in calibration.weights.items():
        np.testing.assert_array_equal(back.weights[name].weight, one.weight, strict=True)
        np.testing.assert_array_equal(back.weights[name].bias, one.bias, strict=True)
    assert back.quantized.keys() == calibration.quantized.keys()
    for name, one in calibration.quantized.items():
        for array in ("codes", "table", "scale"):
            np.testing.assert_array_equal(getattr(back.quantized[name], array), getattr(one, array), strict=True)
        assert (back.quantized[name].format, back.quantized[name].components) == (one.format, one.components)
    for name in ("model_digest", "inputs_digest", "remarks", "ranges"):
        assert getattr(back, name) == getattr(calibration, name)


@pytest.mark.parametrize(
    ("phi", "rho", "mode", "message"),
    [
        (np.ones((3, 4)), np.ones(4), "mask", "gate mode: got 'mask', accepted are select, boost"),
        (np.ones((3, 4)), np.ones(3), "select", r"phi is \[3, 4\] and rho \[3\]"),
        (np.ones(4), np.ones(4), "select", r"accepted are \[C_in, C_out\] and \[C_out\]"),
        (np.full((3, 4), np.nan), np.ones(4), "select", "not finite"),
        (np.ones((3, 4)), np.full(4, np.inf), "select", "not finite"),
    ],
)
def test_malformed_gate(phi, rho, mode, message):
    with pytest.raises(InvalidInputError, match=message):
        Gate(phi, rho, mode)


@pytest.mark.parametrize(
    ("weight", "bias", "message"),
    [
        (np.ones((4, 3)), np.ones(3), r"bias is \[3\], accepted is \[4\]"),
        (np.full((4, 3), np.inf), np.ones(4), "not finite"),
        (np.ones((4, 3)), np.full(4, np.nan), "not finite"),
    ],
)
def test_malformed_weights(weight, bias, message):
    with pytest.raises(InvalidInputError, match=message):
        LayerWeights(weight, bias)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # numpy leaves a damaged file open
@given(st.data())
def test_a_truncated_file_is_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("calibration") / "gates.npz"
    small().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(InvalidInputError, match=r"calibration .*gates\.npz: not a file written by"):
        Calibration.load(path)


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "inputs.npz"
    np.savez(path, x=np.ones(3))
    with pytest.raises(InvalidInputError, match="not a file written by Calibration.save"):
        Calibration.load(path)
    with pytest.raises(InvalidInputError, match="not a file written by Calibration.save"):
        Calibration.load(tmp_path / "none.npz")


def test_a_missing_array_is_refused(tmp_path):
    path = tmp_path / "gates.npz"
    small().save(path)
    with np.load(path) as stored:
        kept = {name: stored[name] for name in stored.files if not name.startswith("rho/")}
    np.savez(path, **kept)
    with pytest.raises(InvalidInputError, match="not a file written by Calibration.save"):
        Calibration.load(path)


def with_header(path, change) -> None:
    """Save the small calibration with a header that `change` was called on."""
    small().save(path)
    with np.load(path) as stored:
        kept = {name: stored[name] for name in stored.files}
    header = json.loads(kept["header"].tobytes())
    change(header)
    np.savez(path, **{**kept, "header": np.frombuffer(json.dumps(header).encode(), np.uint8)})


def test_another_version_is_refused(tmp_path):
    with_header(tmp_path / "gates.npz", lambda header: header.update(espalier_calibration=4))
    with pytest.raises(InvalidInputError, match="version 4, accepted are 1 and 2 and 3"):
        Calibration.load(tmp_path / "gates.npz")


def test_a_file_from_before_there_were_ranges(tmp_path):
    def as_in_version_1(header):
        header["espalier_calibration"] = 1
        del header["ranges"]

    with_header(tmp_path / "gates.npz", as_in_version_1)
    back = Calibration.load(tmp_path / "gates.npz")
    assert back.ranges == {}
    assert back.gates.keys() == small().gates.keys()


@pytest.mark.parametrize("ends", [(1.0, 0.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_malformed_range(ends):
    with pytest.raises(InvalidInputError, match="range: got .* accepted are finite ends in order"):
        Range(*ends)


@given(arrays.arrays(np.float32, (2, 3), elements=finite))
def test_digest_depends_on_all_of_an_array(x):
    assert digest({"a": x, "b": x}) == digest({"b": x.copy(), "a": np.asfortranarray(x)})
    others = ({"a": x, "c": x}, {"a": x, "b": x.T}, {"a": x, "b": x.view(np.int32)}, {"a": x, "b": x + (abs(x) + 1)})
    assert len({digest({"a": x, "b": x}), *map(digest, others)}) == 1 + len(others)
