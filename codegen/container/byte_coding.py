"""Bytes that are not equally likely in as few bits as that allows.

Asymmetric numeral systems (ANS, Duda 2013) by the library `constriction`: within a few bytes of the entropy, also far
below the one bit a symbol that Huffman codes cannot go under. With 85 % zeros a Huffman code takes a third more.
So zeros that pruning left need no mask of their own: a zero of probability p costs -log2 p bits.

A coded text is a tag and, after "all equal", the one byte; after "as they are", the bytes; after "coded": the number
of different bytes less one, these bytes (or a bitmap of all 256 where that is shorter), for each of them its frequency
as a class, and the words of the ANS coder.
"""

from __future__ import annotations

import constriction
import numpy as np

from espalier.core.errors import CorruptArtifactError

AS_THEY_ARE, ALL_EQUAL, CODED = range(3)
BITMAP_BYTES = 32
CLASSES_PER_OCTAVE = 8
MANTISSAS = np.array([256, 279, 304, 332, 362, 395, 431, 470], np.int64)
"""256 * 2^(j/8): a frequency is known to 4 %, in one byte, which costs less than 0.001 bits a symbol. They are integers
so that every machine builds the same model from them."""


def encode_bytes(symbols: np.ndarray) -> bytes:
    """The coded text of uint8 [n]; at most one byte longer than the symbols."""
    counts = np.bincount(symbols, minlength=256)
    used = np.flatnonzero(counts).astype(np.uint8)
    as_they_are = bytes([AS_THEY_ARE]) + symbols.tobytes()
    if len(used) <= 1:
        return bytes([ALL_EQUAL, *used]) if len(used) else as_they_are
    classes = np.rint(CLASSES_PER_OCTAVE * np.log2(counts[used])).astype(np.uint8)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(np.searchsorted(used, symbols).astype(np.int32), _model(classes))
    words = coder.get_compressed().astype("<u4").tobytes()
    coded = bytes([CODED, len(used) - 1]) + _set_to_bytes(used) + classes.tobytes() + words
    return min(coded, as_they_are, key=len)


def decode_bytes(text: bytes, count: int) -> np.ndarray:
    """The `count` symbols, uint8 [count], behind what `encode_bytes` gave.

    Raises CorruptArtifactError for a text that cannot be that. ANS itself holds no check: the container has one.
    """
    tag, rest = text[:1], text[1:]
    if tag == bytes([AS_THEY_ARE]) and len(rest) == count:
        return np.frombuffer(rest, np.uint8)
    if tag == bytes([ALL_EQUAL]) and len(rest) == 1:
        return np.full(count, rest[0], np.uint8)
    if tag == bytes([CODED]) and rest:
        return _decode(rest[0] + 1, rest[1:], count)
    raise CorruptArtifactError(f"coded weights: {len(text)} bytes are no {count} symbols; compile the model again")


def _decode(different: int, rest: bytes, count: int) -> np.ndarray:
    used, rest = _set_of_bytes(different, rest)
    classes, words = np.frombuffer(rest[:different], np.uint8), rest[different:]
    is_whole = len(used) == len(classes) == different > 1 and len(words) % 4 == 0
    try:
        coder = constriction.stream.stack.AnsCoder(np.frombuffer(words, "<u4").astype(np.uint32))
        symbols = coder.decode(_model(classes), count)
        is_whole = is_whole and coder.is_empty()
    except (ValueError, AssertionError, OverflowError):
        is_whole = False
    if not is_whole:
        raise CorruptArtifactError(f"coded weights: {count} symbols cannot be decoded; compile the model again")
    return used[symbols]


def _model(classes: np.ndarray):
    """How likely each symbol is, from the classes of their frequencies."""
    octaves, fractions = np.divmod(classes.astype(np.int64), CLASSES_PER_OCTAVE)
    frequencies = (MANTISSAS[fractions] << octaves).astype(np.float64)
    return constriction.stream.model.Categorical(frequencies / frequencies.sum(), perfect=False)


def _set_to_bytes(used: np.ndarray) -> bytes:
    """Ascending bytes, or 256 bits if that is shorter."""
    if len(used) < BITMAP_BYTES:
        return used.tobytes()
    present = np.zeros(256, bool)
    present[used] = True
    return np.packbits(present).tobytes()


def _set_of_bytes(different: int, text: bytes) -> tuple[np.ndarray, bytes]:
    """(the bytes of a set of `different` ones, what follows it)."""
    if different < BITMAP_BYTES:
        return np.frombuffer(text[:different], np.uint8), text[different:]
    present = np.unpackbits(np.frombuffer(text[:BITMAP_BYTES], np.uint8))
    return np.flatnonzero(present).astype(np.uint8), text[BITMAP_BYTES:]
