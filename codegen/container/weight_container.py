"""The weight container: the parameters of a network in one file, entropy-coded without loss.

    bytes 0..3    "ESPW"
    bytes 4..5    version
    bytes 6..9    CRC-32 of all that follows
    bytes 10..13  length of the contents
    then          the contents, a deflated JSON list of [name, type, shape], and the streams, each after its length

Names are "layer/role". An array of 4,096 numbers or more is a stream of its own, because its values have their own
frequencies. Smaller ones of one type and role are one stream together: a table of frequencies for a dozen biases would
be longer than they are. Numbers are little-endian.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from espalier.core.errors import CorruptArtifactError, EspalierError

from .array_coding import LENGTH, decode_array, encode_array

MAGIC, VERSION = b"ESPW", 1
HEAD = struct.Struct("<4sHI")
OWN_STREAM = 4096
ADVICE = "compile the model again"


@dataclass(frozen=True)
class WeightContainer:
    """Coded arrays.

    content: of the file. coded_bytes: by array; where several share a stream, its bytes by their numbers.
    """

    content: bytes
    coded_bytes: Mapping[str, float]

    @property
    def overhead_bytes(self) -> float:
        """Names, shapes, lengths and checksum."""
        return len(self.content) - sum(self.coded_bytes.values())


def encode(arrays: Mapping[str, np.ndarray]) -> WeightContainer:
    """The container of arrays of integers or floating-point numbers."""
    contents = [[name, array.dtype.str.lstrip("<>=|"), list(array.shape)] for name, array in arrays.items()]
    listed = zlib.compress(json.dumps(contents, separators=(",", ":")).encode(), 9)
    parts, coded_bytes = [LENGTH.pack(len(listed)), listed], {}
    for names in _streams(contents):
        together = np.concatenate([arrays[name].reshape(-1) for name in names])
        coded = encode_array(together)
        parts += [LENGTH.pack(len(coded)), coded]
        coded_bytes |= {name: len(coded) * arrays[name].size / max(1, together.size) for name in names}
    rest = b"".join(parts)
    return WeightContainer(HEAD.pack(MAGIC, VERSION, zlib.crc32(rest)) + rest, coded_bytes)


def decode(content: bytes, where: object = "weights") -> dict[str, np.ndarray]:
    """The arrays in a container, in the order in which they were given, bit for bit.

    where: the file, for the error. Raises CorruptArtifactError for anything but the whole of what `encode` gave.
    """
    try:
        magic, version, checksum = HEAD.unpack_from(content)
    except struct.error:
        magic = version = checksum = None
    if magic != MAGIC:
        raise CorruptArtifactError(f"{where}: is no weight container; {ADVICE}")
    if version != VERSION:
        raise CorruptArtifactError(f"{where}: weight container of version {version}, accepted is {VERSION}; {ADVICE}")
    rest = content[HEAD.size :]
    if zlib.crc32(rest) != checksum:
        raise CorruptArtifactError(f"{where}: the weights are damaged or cut off; {ADVICE}")
    try:
        return _decode(rest)
    except (EspalierError, ValueError, TypeError, KeyError, zlib.error, struct.error) as error:
        raise CorruptArtifactError(f"{where}: the weights cannot be decoded ({error})") from None


def _decode(rest: bytes) -> dict[str, np.ndarray]:
    listed, place = _next(rest, 0)
    contents = json.loads(zlib.decompress(listed))
    shapes = {name: tuple(shape) for name, _, shape in contents}
    types = {name: np.dtype(dtype) for name, dtype, _ in contents}
    found = {}
    for names in _streams(contents):
        coded, place = _next(rest, place)
        sizes = [math.prod(shapes[name]) for name in names]
        together = decode_array(coded, types[names[0]], sum(sizes))
        for name, part in zip(names, np.split(together, np.cumsum(sizes)[:-1])):
            found[name] = part.reshape(shapes[name])
    if place != len(rest):
        raise ValueError("bytes are left over")
    return {name: found[name] for name in shapes}


def _streams(contents: list) -> list[list[str]]:
    """Which arrays are coded together, by name."""
    streams: dict[tuple, list[str]] = {}
    for name, dtype, shape in contents:
        is_alone = math.prod(shape) >= OWN_STREAM
        streams.setdefault((name,) if is_alone else (dtype, name.rpartition("/")[2]), []).append(name)
    return list(streams.values())


def _next(rest: bytes, place: int) -> tuple[bytes, int]:
    """(the part that begins at `place` with its length, where the next one begins)."""
    start = place + LENGTH.size
    end = start + LENGTH.unpack_from(rest, place)[0]
    return rest[start:end], end
