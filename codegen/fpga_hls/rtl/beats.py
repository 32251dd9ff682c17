"""Tensors as beats of the streams at the edges of a design, and beats as lines of the files that a test bench reads."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def beats_of(tensor: np.ndarray, lanes: int, bits: int = 8) -> list[int]:
    """The beats of a tensor of uint8, or of int32 for 32 bits, [H, W, C]: the lowest channel in the lowest bits."""
    rows = np.ascontiguousarray(tensor, _type(bits)).reshape(-1, lanes)
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


def tensor_of(beats: Iterable[int], shape: tuple[int, int, int], lanes: int, bits: int) -> np.ndarray:
    """The tensor behind beats: uint8, or int32 for 32 bits, [H, W, C]."""
    data = b"".join(beat.to_bytes(lanes * bits // 8, "little") for beat in beats)
    return np.frombuffer(data, _type(bits)).reshape(shape)


def hexadecimal(beats: Iterable[int], bits: int) -> str:
    """Beats of so many bits as the text of a file, one in a line."""
    return "".join(f"{beat:0{-(-bits // 4)}x}\n" for beat in beats)


def _type(bits: int) -> np.dtype:
    return np.dtype(np.uint8 if bits == 8 else "<i4")
