"""Codes of 1 to 8 bits without gaps between them."""

from __future__ import annotations

import numpy as np

from .errors import InvalidInputError


def pack_codes(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes, uint8 below 2^bits in any shape, as a dense stream of bits: uint8 [ceil(size * bits / 8)].

    Code i has the bits i * bits to (i + 1) * bits - 1 of the stream, least significant first; bit j of the stream is
    bit j % 8 of byte j // 8; the last byte is filled up with zeros.
    Raises InvalidInputError for bits outside 1..8, and for a code that does not fit them.
    """
    _check_bits(bits)
    if codes.dtype != np.uint8 or codes.size and int(codes.max()) >= 2**bits:
        raise InvalidInputError(f"codes: got {codes.dtype} up to {codes.max(initial=0)}, accepted is uint8 < {2**bits}")
    each = np.unpackbits(codes.reshape(-1, 1), axis=1, count=bits, bitorder="little")
    return np.packbits(each.reshape(-1), bitorder="little")


def unpack_codes(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The first `count` codes of what `pack_codes` gave: uint8 [count].

    Raises InvalidInputError if `packed` is not as long as so many codes are.
    """
    _check_bits(bits)
    if packed.dtype != np.uint8 or packed.shape != (packed_bytes(count, bits),):
        raise InvalidInputError(
            f"packed codes: got {packed.dtype} {list(packed.shape)}, accepted is uint8 [{packed_bytes(count, bits)}] "
            f"for {count} codes of {bits} bits"
        )
    each = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    return np.packbits(each, axis=1, bitorder="little").reshape(count)


def packed_bytes(count: int, bits: int) -> int:
    """The length of `count` packed codes: ceil(count * bits / 8)."""
    return -(-count * bits // 8)


def _check_bits(bits: int) -> None:
    if bits not in range(1, 9):
        raise InvalidInputError(f"codes: got {bits!r} bits, accepted are 1..8")
