"""Vectors over channels, masks and lists of channel groups, in stock Relax: what the operators' bodies share."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax


def per_channel(vector: relax.Expr, rank: int) -> relax.Expr:
    """[C] so that it broadcasts over a tensor of this rank, channels in axis 1."""
    return relax.op.expand_dims(vector, [0, 2, 3]) if rank == 4 else vector


def per_sample_channel(matrix: relax.Expr, rank: int) -> relax.Expr:
    """[N, C] likewise."""
    return relax.op.expand_dims(matrix, [2, 3]) if rank == 4 else matrix


def winners_mask(winners: relax.Expr, granularity: int, channels: int, dtype: str = "float32") -> relax.Expr:
    """[N, channels], 1 where a channel's group is in the list `winners` [N, count], else 0."""
    groups = channels // granularity
    listed = relax.op.equal(relax.op.expand_dims(winners, 1), _group_numbers(groups, axes=(0, 2)))
    mask = relax.op.max(relax.op.astype(listed, dtype), axis=[2])
    return relax.op.repeat(mask, granularity, axis=1)


def winners_take_all(score: relax.Expr, groups: int, kept: int) -> relax.Expr:
    """bool [N, groups]: fewer than `kept` groups beat this one; a tie is won by the lower number."""
    mine, other = relax.op.expand_dims(score, 2), relax.op.expand_dims(score, 1)
    tie_lost = relax.op.logical_and(relax.op.equal(other, mine), _is_earlier(groups))
    beaten = relax.op.logical_or(relax.op.greater(other, mine), tie_lost)
    return relax.op.less(_count(beaten), relax.const(kept, "int32"))


def ascending_numbers(keep: relax.Expr, groups: int, kept: int) -> relax.Expr:
    """int32 [N, kept]: the numbers of the kept groups. Not by a sort: the TVM wheel has none for the CPU."""
    kept_before = _count(relax.op.logical_and(relax.op.expand_dims(keep, 1), _is_earlier(groups)))
    here = relax.op.equal(relax.op.expand_dims(kept_before, 1), _group_numbers(kept, axes=(0, 2)))
    here = relax.op.logical_and(here, relax.op.expand_dims(keep, 1))
    return relax.op.sum(
        relax.op.multiply(relax.op.astype(here, "int32"), _group_numbers(groups, axes=(0, 1))), axis=[2]
    )


def _is_earlier(groups: int) -> relax.Expr:
    """bool [1, groups, groups]: the group of the last axis has a lower number than that of the middle axis."""
    return relax.op.less(_group_numbers(groups, axes=(0, 1)), _group_numbers(groups, axes=(0, 2)))


def _count(flags: relax.Expr) -> relax.Expr:
    return relax.op.sum(relax.op.astype(flags, "int32"), axis=[2])


def _group_numbers(groups: int, axes: Sequence[int] = (0,)) -> relax.Expr:
    """0 .. groups-1 as int32, with dimensions of size one inserted at `axes`."""
    numbers = relax.op.arange(groups, dtype="int32")
    return relax.op.expand_dims(numbers, list(axes))
