"""Which groups of channels the gates of a torch network choose, and how much the choice varies."""

from __future__ import annotations

import numpy as np
import torch

from espalier.training.gates import gates_of

BATCH = 500


@torch.no_grad()
def choices(model: torch.nn.Module, x: np.ndarray) -> dict[str, np.ndarray]:
    """By layer, bool [images, groups]: whether a group is active."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in gates_of(model)}
    hooks = [
        gate.register_forward_hook(
            lambda gate, _, both, name=name: found[name].append(both[1][:, :: gate.granularity].numpy() > 0)
        )
        for name, gate in gates_of(model).items()
    ]
    for batch in torch.from_numpy(x).split(BATCH):
        model(batch)
    for hook in hooks:
        hook.remove()
    return {name: np.concatenate(parts) for name, parts in found.items()}


def binary_entropy(p: np.ndarray) -> np.ndarray:
    """-p log2 p - (1 - p) log2 (1 - p), 0 at both ends."""
    inside = np.clip(p, 1e-300, 1)
    outside = np.clip(1 - p, 1e-300, 1)
    return -p * np.log2(inside) - (1 - p) * np.log2(outside)
