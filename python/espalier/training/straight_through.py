"""Values that are rounded going forward and, going backward, are as if they had not been.

References
    Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons, arXiv 1308.3432, 2013.
"""

from __future__ import annotations

import torch


class _Straight(torch.autograd.Function):
    """The value of the second argument, the gradient of the first."""

    @staticmethod
    def forward(_ctx, _real, quantized):
        return quantized

    @staticmethod
    def backward(_ctx, gradient):
        return gradient, None


def straight_through(real: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
    """`quantized`, whose gradient is that of `real`; of one shape."""
    return _Straight.apply(real, quantized)


def rounded(x: torch.Tensor, scale: float, low: int, high: int) -> torch.Tensor:
    """scale * clip(round(x / scale), low, high); the gradient is 1 between the ends and 0 beyond them.

    In plain operations, which torch.compile makes one loop of, with what comes before and behind them.
    """
    limited = x.clamp(scale * low, scale * high)
    return straight_through(limited, torch.round(limited.detach() / scale) * scale)
