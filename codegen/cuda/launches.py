"""What a program launches: known when it is compiled, because every shape and every list's length is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class KernelLaunch:
    """One launch of one of our kernels.

    layer: on whose behalf. variant: the function. grid: blocks in x, y, z. threads, shared_bytes: of a block.
    number_format: of the tensor instruction. macs: useful multiply-accumulates; issued_macs: those that tiles do, with
    what sticks out of the problem. bytes: the least that it reads and writes. predicted_s: by the analytic rule.
    numbers, tensors: what a call takes, tensors as (shape, element type), so that it can be timed alone.
    fills_resting: whether the call launches finish_resting before, which writes what a list leaves out.
    """

    layer: str
    variant: str
    grid: tuple[int, int, int]
    threads: int
    shared_bytes: int
    number_format: str
    macs: int
    issued_macs: int
    bytes: int
    predicted_s: float
    registers: int = 0
    spill_bytes: int = 0
    static_shared_bytes: int = 0
    numbers: tuple[int | float, ...] = ()
    tensors: tuple[tuple[tuple[int, ...], str], ...] = ()
    fills_resting: bool = False

    @property
    def blocks(self) -> int:
        """Of the whole grid."""
        return self.grid[0] * self.grid[1] * self.grid[2]

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(data: dict) -> KernelLaunch:
        """The value behind a dict of `to_dict`."""
        tensors = tuple((tuple(shape), dtype) for shape, dtype in data["tensors"])
        return KernelLaunch(
            **{**data, "grid": tuple(data["grid"]), "numbers": tuple(data["numbers"]), "tensors": tensors}
        )
