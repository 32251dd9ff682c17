"""Which weights of a layer stay.

References
    Han et al., Learning both Weights and Connections for Efficient Neural Networks, NIPS 2015, section 3.
"""

from __future__ import annotations

import numpy as np


def magnitude_mask(weight: np.ndarray, sparsity: float) -> np.ndarray:
    """bool, shaped as the weight: False for the floor(sparsity * size) smallest magnitudes, of equal ones for the last.

    weight: finite numbers in any shape. sparsity: in [0, 1).
    """
    mask = np.ones(weight.size, bool)
    pruned = int(round(sparsity * weight.size, 9))  # so that 0.7 * 10 is 7
    ascending = np.argsort(np.abs(weight.reshape(-1)[::-1]), kind="stable")
    mask[weight.size - 1 - ascending[:pruned]] = False
    return mask.reshape(weight.shape)
