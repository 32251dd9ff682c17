"""Numbers as planes of bytes, each plane coded by itself.

Of float32 numbers the sign goes last, so that the first plane is the exponent, which is far from equally likely;
numbers rounded to bfloat16 have two planes of zeros, which cost a byte each. Numbers of several bytes among which there
are zeros may come as a mask and planes of the others.
"""

from __future__ import annotations

import struct

import numpy as np

from espalier.core.errors import CorruptArtifactError

from .byte_coding import decode_bytes, encode_bytes

ALL, NONZERO = range(2)
LENGTH = struct.Struct("<I")


def encode_array(values: np.ndarray) -> bytes:
    """The coded form of numbers of any numpy type but objects; `decode_array` needs their type and count."""
    bits = _to_bits(values.reshape(-1))
    everything = bytes([ALL]) + _planes_to_bytes(bits)
    if bits.dtype.itemsize == 1 or bits.all():
        return everything
    mask = bits != 0  # a negative zero has a bit, and is kept
    masked = bytes([NONZERO]) + _with_length(encode_bytes(mask.view(np.uint8))) + _planes_to_bytes(bits[mask])
    return min(everything, masked, key=len)


def decode_array(text: bytes, dtype: np.dtype, count: int) -> np.ndarray:
    """The `count` numbers, [count], behind what `encode_array` gave; CorruptArtifactError if it cannot be that."""
    width, kind, rest = np.dtype(dtype).itemsize, text[:1], text[1:]
    bits = np.zeros(count, f"<u{width}")
    mask = slice(None)
    if kind == bytes([NONZERO]):
        coded, rest = _split(rest)
        mask = decode_bytes(coded, count).astype(bool)
    elif kind != bytes([ALL]):
        raise CorruptArtifactError("coded weights: an unknown kind of array; compile the model again")
    planes = np.empty((len(bits[mask]), width), np.uint8)
    for number in reversed(range(width)):
        coded, rest = _split(rest)
        planes[:, number] = decode_bytes(coded, len(planes))
    bits[mask] = planes.view(f"<u{width}")[:, 0]
    return _from_bits(bits, np.dtype(dtype))


def _planes_to_bytes(bits: np.ndarray) -> bytes:
    """The most significant plane first."""
    width = bits.dtype.itemsize
    planes = bits.astype(f"<u{width}").view(np.uint8).reshape(-1, width)
    return b"".join(_with_length(encode_bytes(np.ascontiguousarray(planes[:, one]))) for one in reversed(range(width)))


def _to_bits(values: np.ndarray) -> np.ndarray:
    width = values.dtype.itemsize
    bits = np.ascontiguousarray(values).view(f"u{width}")
    return bits << 1 | bits >> (8 * width - 1) if values.dtype.kind == "f" else bits


def _from_bits(bits: np.ndarray, dtype: np.dtype) -> np.ndarray:
    bits = bits.astype(f"u{dtype.itemsize}")
    return (bits >> 1 | bits << (8 * dtype.itemsize - 1) if dtype.kind == "f" else bits).view(dtype)


def _with_length(text: bytes) -> bytes:
    return LENGTH.pack(len(text)) + text


def _split(text: bytes) -> tuple[bytes, bytes]:
    """(a text that comes after its length, what follows it)."""
    if len(text) < LENGTH.size:
        raise CorruptArtifactError("coded weights: they end too early; compile the model again")
    end = LENGTH.size + LENGTH.unpack_from(text)[0]
    return text[LENGTH.size : end], text[end:]
