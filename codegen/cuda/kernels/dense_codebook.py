"""Dense layers of bytes whose weights have at most 16 levels, packed in 4 bits and decoded in registers.

CUDA C++ (templates/dense_codebook.cuh), not TensorIR: the decoding is three byte permutations for four codes, which
TensorIR has no name for.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from espalier.core.layers import DenseSpec

from ..kernel_objects import Variant

THREADS, ROWS_OF_BLOCK, CODES = 256, 32, 32
"""CODEBOOK_THREADS, CODEBOOK_WARPS * CODEBOOK_ROWS and CODES of the template."""
CHUNK_BYTES = CODES // 2
REGISTERS = 48
"""What ptxas takes for it."""
LEVELS = 16
MOST_DEPTH = 64 << 10
"""Bytes of x in shared memory: what every GPU with our kernels gives to a block."""
VARIANT = Variant("dense_codebook.cu", "espalier_dense_codebook", kernel="dense_codebook", threads=THREADS)


def fits(spec: DenseSpec, weight: np.ndarray) -> bool:
    """Whether the kernel computes this layer: bytes, at most 16 levels, neither list nor gate nor residual."""
    plain = spec.gate == "none" and not {"residual", "active"} & set(spec.roles)
    return spec.integer is not None and plain and len(np.unique(weight)) <= LEVELS and weight.shape[1] <= MOST_DEPTH


def chunks_of(depth: int) -> int:
    """Groups of 32 codes of one output channel."""
    return -(-depth // CODES)


def codebook_numbers(spec: DenseSpec, batch: int, weight: np.ndarray) -> list[int]:
    """The numbers that come before the tensors of a call, in the order of templates/dense_codebook.cu."""
    channels, depth = weight.shape
    one = spec.integer
    scaled = int("scale" in spec.roles)
    return [scaled, batch, depth, chunks_of(depth), channels, one.shift, one.zero, one.low, one.high]


def pack(spec: DenseSpec, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Codes [channels, chunks * 4], table [4] and bias [channels], all int32, then the multiplier or the scale."""
    weight = arrays["weight"]
    levels = np.unique(weight)
    depth, padded = weight.shape[1], chunks_of(weight.shape[1]) * CODES
    codes = np.pad(np.searchsorted(levels, weight), ((0, 0), (0, padded - depth))).astype(np.uint32)
    words = (codes.reshape(len(weight), -1, 8) << np.arange(0, 32, 4, dtype=np.uint32)).sum(2, dtype=np.uint32)
    table = np.zeros(LEVELS, np.int8)
    table[: len(levels)] = levels
    bias = arrays.get("bias", np.zeros(len(weight), np.int32)) - spec.integer.x_zero * weight.astype(np.int32).sum(1)
    factor = "scale" if "scale" in spec.roles else "multiplier"
    return [words.view(np.int32), table.view(np.int32), bias.astype(np.int32), arrays[factor]]
