"""What calibration fits, as plain mathematics: the predictor of a gate, its winners, weights that make up for it.

References
    Gao et al., Dynamic Channel Pruning: Feature Boosting and Suppression, ICLR 2019, section 3.
    He et al., Channel Pruning for Accelerating Very Deep Neural Networks, ICCV 2017, section 3.1 (reconstruction).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

HEADROOM = 1.5
"""rho is raised by this multiple of the lowest prediction below zero, so that relu clips none of them."""

TINY = 1e-12


def subsample(x: np.ndarray) -> np.ndarray:
    """ss(x) [S, C]: the mean of |x| over the pixels of each channel, x [S, C, H, W]."""
    return np.abs(x).mean((2, 3))


def contribution(y: np.ndarray, reader_norm: np.ndarray, centre: np.ndarray | None = None) -> np.ndarray:
    """[S, C]: how much each channel matters, sqrt(mean over pixels of (y - centre)^2) times its readers' norm.

    y: [S, C, H, W]; reader_norm: [C]; centre: [C], what a channel gives on the average, where the readers'
    biases will make up for that (`fit_correction`); None where they will not.
    """
    pixels = np.float32(y.shape[2] * y.shape[3])
    squares = np.einsum("schw,schw->sc", y, y, optimize=False) / pixels
    if centre is not None:
        squares = np.maximum(squares + centre * (centre - 2 * y.mean((2, 3))), 0)
    return np.sqrt(squares) * reader_norm.astype(np.float32)


def fit_predictor(features: np.ndarray, target: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """phi [C_in, C_out], rho [C_out] (float32) with features phi + rho close to target, nowhere below zero.

    features: [S, C_in], target: [S, C_out]. Ridge regression on standardised features: ridge 0.001 follows
    every input, an infinite one gives phi = 0, the same choice for all inputs.
    """
    centre, mean = features.mean(0, dtype=np.float64), target.mean(0, dtype=np.float64)
    spread = features.std(0, dtype=np.float64) + 1e-6
    x, t = (features - centre) / spread, target - mean
    gram = x.T @ x + ridge * len(x) * np.eye(x.shape[1])
    phi = np.linalg.solve(gram, x.T @ t) / spread[:, None]
    rho = mean - centre @ phi
    lowest = (features @ phi + rho).min()
    return phi.astype(np.float32), (rho + HEADROOM * max(0.0, -lowest)).astype(np.float32)


def winners_mask(saliency: np.ndarray, granularity: int, kept: int) -> np.ndarray:
    """float32 [S, C]: 1 for the channels of the `kept` groups with the largest sums, ties to the lowest group.

    saliency: [S, C]. The same choice as `ChannelGateSpec` makes.
    """
    scores = saliency.reshape(len(saliency), -1, granularity).sum(2)
    winners = np.argsort(-scores, axis=1, kind="stable")[:, :kept]
    mask = np.zeros(scores.shape, np.float32)
    np.put_along_axis(mask, winners, 1, axis=1)
    return np.repeat(mask, granularity, axis=1)


def fit_correction(batches: Iterable[tuple[np.ndarray, np.ndarray]], ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """(dW, db) that minimise |X dW + db - R|^2 + ridge * mean(diag G) * M * |dW|^2, G the centred X^T X / M.

    batches: pairs X [groups, rows, K], R [groups, rows, C]; M counts all rows.
    Returns float32 dW [groups, K, C], db [groups, C]. The ridge pulls towards no correction.
    """
    count, gram, cross, sum_x, sum_r = 0, 0.0, 0.0, 0.0, 0.0
    for x, r in batches:
        transposed = x.transpose(0, 2, 1)
        gram, cross = gram + (transposed @ x).astype(np.float64), cross + (transposed @ r).astype(np.float64)
        sum_x, sum_r = sum_x + x.sum(1, dtype=np.float64), sum_r + r.sum(1, dtype=np.float64)
        count += x.shape[1]
    mean_x, mean_r = sum_x / count, sum_r / count
    gram = gram / count - mean_x[:, :, None] * mean_x[:, None, :]
    cross = cross / count - mean_x[:, :, None] * mean_r[:, None, :]
    diagonal = np.einsum("gkk->gk", gram)
    diagonal += ridge * diagonal.mean(1, keepdims=True) + TINY
    correction = np.linalg.solve(gram, cross)
    shift = mean_r - np.einsum("gk,gkc->gc", mean_x, correction)
    return correction.astype(np.float32), shift.astype(np.float32)


def choice_variability(masks: np.ndarray, density: float) -> float:
    """How much a choice changes between inputs: mean of p (1 - p) / (d (1 - d)), 0 static, 1 random.

    masks: [S, C] of 0 and 1; p is how often a channel is kept, d the density kept of all.
    """
    often = masks.mean(0, dtype=np.float64)
    return float((often * (1 - often)).mean() / (density * (1 - density)))


def mean_divergence(dense: np.ndarray, gated: np.ndarray) -> float:
    """Mean KL(softmax(dense) || softmax(gated)) over samples, logits [S, classes]."""
    log_p, log_q = _log_softmax(dense), _log_softmax(gated)
    return float((np.exp(log_p) * (log_p - log_q)).sum(1).mean())


def mean_squared_error(dense: np.ndarray, gated: np.ndarray) -> float:
    """Mean squared difference of two arrays."""
    return float(np.square(dense.astype(np.float64) - gated).mean())


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
