"""Batches of augmented images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from ..frontend.bundled import MEAN, STD

CROP = 4
"""How many pixels an image may be shifted by, in each direction."""


def default_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Images:
    """Labelled images on a device: uint8 [N, H, W, 3] and labels [N]."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, device: torch.device):
        self.images = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        self.labels = torch.from_numpy(labels.astype(np.int64)).to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One epoch in random order, augmented; an incomplete last batch is left out unless it is the only one."""
        order = torch.randperm(len(self), generator=generator)
        for number in range(batches_of(len(self), size)):
            chosen = order[number * size : (number + 1) * size]
            moves = _moves(len(chosen), generator)
            chosen = chosen.to(self.images.device)
            yield normalised(augmented(self.images[chosen], *moves)), self.labels[chosen]

    def plain_batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All images in their order, as they are."""
        for images, labels in zip(self.images.split(size), self.labels.split(size)):
            yield normalised(images), labels


def batches_of(images: int, size: int) -> int:
    """Batches in an epoch."""
    return max(1, images // size)


def augmented(images: torch.Tensor, shifts: torch.Tensor, flips: torch.Tensor) -> torch.Tensor:
    """Images [N, H, W, 3] shifted over a black border and mirrored.

    shifts: int64 [N, 2], where in the image with its border the crop begins, 0 .. 2 * CROP; flips: bool [N].
    """
    count, height, width, _ = images.shape
    bordered = functional.pad(images, (0, 0, CROP, CROP, CROP, CROP))
    rows = shifts[:, :1] + torch.arange(height)
    columns = torch.arange(width).expand(count, width)
    columns = shifts[:, 1:] + torch.where(flips[:, None], columns.flip(1), columns)
    which = torch.arange(count)[:, None, None].to(images.device)
    return bordered[which, rows[:, :, None].to(images.device), columns[:, None, :].to(images.device)]


def normalised(images: torch.Tensor) -> torch.Tensor:
    """uint8 [N, H, W, 3] to float32 [N, 3, H, W] in the memory format channels_last, as `bundled.normalise`."""
    mean, std = images.new_tensor(MEAN, dtype=torch.float32), images.new_tensor(STD, dtype=torch.float32)
    return ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2)


def _moves(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    shifts = torch.randint(2 * CROP + 1, (count, 2), generator=generator)
    return shifts, torch.rand(count, generator=generator) < 0.5
