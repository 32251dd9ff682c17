"""What the fit of every number format has to hold. Each format's tests inherit it: `class TestUniform(Conformance)`."""

from __future__ import annotations

import numpy as np
import pytest

from espalier.core.formats import parse_format
from espalier.core.packing import pack_codes, unpack_codes
from espalier.core.quantized_weights import QuantizedWeights
from espalier.passes.quantize.fitting.fit import fit


def normal(*shape, seed=0):
    """Weights that no format but binary finds hard, none of them 0: two of channel 0 are the greatest, one is small."""
    weight = np.random.default_rng(seed).standard_normal(shape, np.float32) / 4
    return weight * np.linspace(0.5, 2, shape[0], dtype=np.float32).reshape(-1, *[1] * (len(shape) - 1))


def heavy(*shape, seed=0):
    """A heavy tail: Student's t of two degrees of freedom."""
    return (np.random.default_rng(seed).standard_t(2, shape) / 100).astype(np.float32)


def parted(*shape, seed=0):
    """Two clusters of weights, about -0.5 and 0.75."""
    random = np.random.default_rng(seed)
    centre = np.where(random.random(shape) < 0.4, -0.5, 0.75)
    return (centre + random.standard_normal(shape) / 16).astype(np.float32)


def with_zero_channel():
    weight = normal(5, 3, 3, 3)
    weight[2] = 0
    return weight


def with_outlier():
    weight = normal(4, 3, 5, 5)
    weight[1, 2, 0, 4] = -1e6
    return weight


ORDINARY = {
    "normal": normal(6, 4, 3, 3),
    "heavy": heavy(8, 64),
    "parted": parted(16, 5, 3, 3),
    "tiny": normal(3, 17) * np.float32(1e-30),
    "great": normal(3, 17) * np.float32(1e30),
}
UNUSUAL = {
    "all equal": np.full((4, 2, 3, 3), -0.3, np.float32),
    "zeros": np.zeros((3, 7), np.float32),
    "zero channel": with_zero_channel(),
    "outlier": with_outlier(),
    "one value": np.array([[0.7]], np.float32),
    "one zero": np.zeros((1, 1), np.float32),
    "one dimension": normal(9),
    "denormal": np.full((2, 3), 1e-42, np.float32),
}


def errors(weight: np.ndarray, levels: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Squared errors, each weight at its nearest level, as numpy says them."""
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    steps = levels.astype(np.float64)[None, None, :] * scale[:, None, None].astype(np.float64)
    return ((rows[:, :, None] - steps) ** 2).min(axis=2).reshape(weight.shape)


def rounding(weight: np.ndarray) -> float:
    """A squared error that float32 scales cannot be blamed for: of values that fit exactly, and of denormal ones."""
    return float(1e-12 * (weight.astype(np.float64) ** 2).sum() + weight.size * 2.0**-251)


def error_of(weight: np.ndarray, fitted: QuantizedWeights, importance=1.0) -> float:
    """The squared error of fitted weights."""
    return float((importance * (fitted.dequantized().astype(np.float64) - weight) ** 2).sum())


class Conformance:
    """texts: the formats that are fitted; is_fitted: whether scales are free, so that they follow the weights."""

    texts: tuple[str, ...] = ()
    is_fitted = True

    def pytest_generate_tests(self, metafunc):
        if "text" in metafunc.fixturenames:
            metafunc.parametrize("text", self.texts)

    def prepared(self, weight: np.ndarray) -> np.ndarray:
        """Weights that the format can hold."""
        return weight

    @pytest.mark.parametrize("name", [*ORDINARY, *UNUSUAL])
    def test_codes_levels_and_scales_fit_together(self, text, name):
        fmt, weight = parse_format(text), self.prepared((ORDINARY | UNUSUAL)[name])
        fitted = fit(weight, fmt)
        assert fitted.format == fmt
        assert fitted.codes.shape == weight.shape
        assert len(fitted.table) <= fmt.level_count
        low, high = fmt.level_range()
        assert low <= fitted.table[0] <= fitted.table[-1] <= high
        assert (0 in fitted.table) == fmt.has_zero
        packed = pack_codes(fitted.codes, fmt.bits)
        np.testing.assert_array_equal(unpack_codes(packed, fmt.bits, weight.size), fitted.codes.reshape(-1))
        exact = fitted.integers.astype(np.float64) * fitted.scale.reshape(-1, *[1] * (weight.ndim - 1))
        np.testing.assert_array_equal(fitted.dequantized(), exact.astype(np.float32))
        assert np.isfinite(fitted.dequantized()).all()

    @pytest.mark.parametrize("name", [*ORDINARY, *UNUSUAL])
    def test_never_worse_than_naive_rounding_to_the_same_levels(self, text, name):
        weight = self.prepared((ORDINARY | UNUSUAL)[name])
        fitted = fit(weight, parse_format(text))
        peak = np.abs(weight).reshape(len(weight), -1).max(axis=1)
        naive = errors(weight, fitted.table, peak / max(1, abs(int(fitted.table[-1])))).sum()
        assert error_of(weight, fitted) <= naive * (1 + 1e-5) + rounding(weight)

    @pytest.mark.parametrize("name", ORDINARY)
    def test_the_same_arguments_give_the_same_codes(self, text, name):
        weight, fmt = self.prepared(ORDINARY[name]), parse_format(text)
        before = weight.copy()
        strided = np.repeat(weight, 2, axis=-1)[..., ::2]
        assert_same(fit(weight, fmt), fit(strided, fmt))
        np.testing.assert_array_equal(weight, before)

    def test_powers_of_two_only_change_the_scale(self, text):
        if self.is_fitted:
            weight, fmt = ORDINARY["normal"], parse_format(text)
            one, other = fit(weight, fmt), fit(weight * np.float32(2**-10), fmt)
            np.testing.assert_array_equal(one.codes, other.codes)
            np.testing.assert_array_equal(one.scale, other.scale * np.float32(2**10))

    def test_pruned_weights_and_zeros_stay_zero(self, text):
        fmt = parse_format(text)
        if fmt.has_zero:
            weight = self.prepared(parted(12, 4, 3, 3))
            mask = np.random.default_rng(1).random(weight.shape) < 0.5
            mask[3] = False
            fitted = fit(weight, fmt, mask=mask)
            assert not fitted.integers[~mask].any()
            assert fitted.integers[mask].any()
            assert_same(fitted, fit(weight * mask, fmt))
            assert fitted.scale[3] == fitted.scale[np.arange(12) != 3].max()

    def test_importance_decides_what_is_kept(self, text):
        """Even importance changes nothing; where two channels of inputs count alone, their error does not grow."""
        weight, fmt = self.prepared(heavy(8, 16, 3, 3)), parse_format(text)
        plain = fit(weight, fmt)
        assert_same(plain, fit(weight, fmt, importance=np.full((1, 16, 1, 1), 3.0)))
        importance = np.zeros((1, 16, 1, 1))
        importance[:, (3, 5)] = 1
        weighted = fit(weight, fmt, importance=importance)
        assert error_of(weight, weighted, importance) <= error_of(weight, plain, importance) * (1 + 1e-6)


def assert_same(one: QuantizedWeights, other: QuantizedWeights) -> None:
    """Equal codes, levels, scales and components."""
    for name in ("codes", "table", "scale"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)
    assert (one.format, one.components) == (other.format, other.components)
