"""What the parameters of a layer take in space, and why it is less than at 32 bits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerSize:
    """Bytes of a layer's parameters.

    name: of the layer; "" for constants that belong to none.
    parameters: numbers of weight, bias and gate. zeros: among the weights. bits: of a weight's format.
    dense_bytes: the parameters at 32 bits.
    pruned_bytes: without the weights that are zero, and a bit for each weight that says so; no more than before.
    packed_bytes: the same with weights of `bits` bits, and everything else as it is stored: biases, multipliers or
        scales, gates.
    coded_bytes: what the weight container takes for all of it, tables of levels and of frequencies included.
    """

    name: str
    parameters: int
    zeros: int
    bits: int
    dense_bytes: int
    pruned_bytes: float
    packed_bytes: float
    coded_bytes: float

    @property
    def by_pruning(self) -> float:
        """Bytes that zeros save."""
        return self.dense_bytes - self.pruned_bytes

    @property
    def by_format(self) -> float:
        """Bytes that fewer bits save; what the format needs besides its codes counts against it."""
        return self.pruned_bytes - self.packed_bytes

    @property
    def by_coding(self) -> float:
        """Bytes that entropy coding saves."""
        return self.packed_bytes - self.coded_bytes

    @property
    def ratio(self) -> float:
        """How many times smaller than at 32 bits; 0 where there is no parameter."""
        return self.dense_bytes / self.coded_bytes if self.coded_bytes else 0.0


@dataclass(frozen=True)
class ProgramSize:
    """Sizes of a program whose parameters are compressed.

    overhead_bytes: of the container, for names, shapes and checksum. code_bytes: of the library, machine code only.
    """

    layers: tuple[LayerSize, ...]
    overhead_bytes: float
    code_bytes: int

    @property
    def dense_bytes(self) -> int:
        """All parameters at 32 bits."""
        return sum(one.dense_bytes for one in self.layers)

    @property
    def container_bytes(self) -> int:
        """The file of the parameters."""
        return round(sum(one.coded_bytes for one in self.layers) + self.overhead_bytes)

    @property
    def ratio(self) -> float:
        """How many times smaller the container is than the parameters at 32 bits."""
        return self.dense_bytes / self.container_bytes
