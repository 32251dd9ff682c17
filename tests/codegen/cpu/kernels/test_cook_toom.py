"""The transforms of Winograd convolution are exact, and their rounding is what the code says it is."""

from __future__ import annotations

import numpy as np
import pytest

from espalier.codegen.cpu.kernels.cook_toom import ERROR_GROWTH, POINTS, transforms


@pytest.mark.parametrize("outputs", POINTS)
def test_transforms_compute_a_correlation(outputs):
    a, g, b = transforms(outputs)
    rng = np.random.default_rng(0)
    data, taps = rng.standard_normal((100, outputs + 2)), rng.standard_normal((100, 3))
    y = ((taps @ g.T) * (data @ b.T)) @ a.T
    expected = sum(data[:, i : i + outputs] * taps[:, i : i + 1] for i in range(3))
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


def test_known_matrices():
    """F(2, 3) and F(4, 3) of Lavin and Gray, section 4, up to the scale and sign of the interpolation's terms."""
    a, _, b = transforms(2)
    np.testing.assert_array_equal(a, [[1, 1, 1, 0], [0, 1, -1, 1]])
    np.testing.assert_array_equal(np.abs(b), [[1, 0, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 1]])
    a, _, b = transforms(4)
    np.testing.assert_array_equal(a[2:], [[0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
    np.testing.assert_array_equal(b[0], [4, 0, -5, 0, 1, 0])


@pytest.mark.parametrize("outputs", POINTS)
@pytest.mark.parametrize("channels", [16, 256])
def test_error_growth(outputs, channels):
    """Root mean square of the rounding errors in float32, against direct sums in float32, both from float64."""
    random = np.random.default_rng(0)
    data = np.maximum(random.standard_normal((channels, 200, outputs + 2, outputs + 2)), 0).astype("float32")
    weight = (random.standard_normal((channels, 3, 3)) / (9 * channels) ** 0.5).astype("float32")
    exact = _direct(data.astype("float64"), weight.astype("float64"), outputs)
    direct, transformed = _direct(data, weight, outputs), _winograd(data, weight, outputs)
    growth = _rms(transformed - exact) / _rms(direct - exact)
    assert ERROR_GROWTH[outputs] / 4 < growth <= ERROR_GROWTH[outputs]


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt((errors.astype("float64") ** 2).mean()))


def _direct(data, weight, outputs: int):
    total = np.zeros((data.shape[1], outputs, outputs), data.dtype)
    for c in range(len(data)):
        for i in range(3):
            for j in range(3):
                total += weight[c, i, j] * data[c, :, i : i + outputs, j : j + outputs]
    return total


def _winograd(data, weight, outputs: int):
    exact_a, exact_g, exact_b = transforms(outputs)
    a, b = exact_a.astype("float32"), exact_b.astype("float32")
    taps = (exact_g @ weight.astype("float64") @ exact_g.T).astype("float32")
    total = np.zeros((data.shape[1], *taps.shape[1:]), "float32")
    for c in range(len(data)):
        total += taps[c] * (b @ data[c] @ b.T)
    return a @ total @ a.T
