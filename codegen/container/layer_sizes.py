"""The space of parameters by layer and by cause."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from espalier.core.sizes import LayerSize

from .weight_container import WeightContainer

PARAMETERS = ("weight", "bias", "phi", "rho")
"""Roles that a network at 32 bits has too; the others (multipliers, scales) come with a format."""
FLOAT_BYTES = 4


def layer_sizes(
    arrays: Mapping[str, np.ndarray], container: WeightContainer, weight_bits: Mapping[str, int]
) -> tuple[LayerSize, ...]:
    """One size for each layer.

    arrays: by "layer/role", those in the container. weight_bits: of a weight's number format, by layer.
    """
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        layer, _, role = name.rpartition("/")
        layers.setdefault(layer if role in PARAMETERS or layer in weight_bits else "", {})[name] = array
    return tuple(
        _size(name, roles, sum(container.coded_bytes[one] for one in roles), weight_bits.get(name))
        for name, roles in layers.items()
    )


def _size(name: str, arrays: Mapping[str, np.ndarray], coded: float, bits: int | None) -> LayerSize:
    weight = arrays.get(f"{name}/weight", np.zeros(0, np.float32))
    bits = 8 * weight.itemsize if bits is None else bits
    others = [array for one, array in arrays.items() if one != f"{name}/weight"]
    parameters = weight.size + sum(a.size for one, a in arrays.items() if one.rpartition("/")[2] in PARAMETERS[1:])
    kept, dense = int(np.count_nonzero(weight)), FLOAT_BYTES * parameters
    return LayerSize(
        name,
        parameters,
        weight.size - kept,
        bits,
        dense,
        dense - FLOAT_BYTES * weight.size + _masked(weight.size, kept, 8 * FLOAT_BYTES),
        _masked(weight.size, kept, bits) + sum(array.nbytes for array in others),
        coded,
    )


def _masked(count: int, kept: int, bits: int) -> float:
    """Bytes of the numbers that are not zero and of a mask, or of all numbers if that is less."""
    return min(count * bits, kept * bits + count) / 8
