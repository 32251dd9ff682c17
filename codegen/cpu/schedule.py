"""Loops for the operators that have no kernel of ours: parallel outside, vectors inside."""

from __future__ import annotations

import tvm
from tvm import tirx
from tvm.s_tir import SBlockRealize, Schedule

from espalier.core import ir_names

PARALLEL_VALUES = 50_000
"""Loop nests over fewer values than this stay on one thread."""


@tvm.transform.module_pass(opt_level=0, name="ScheduleStock")
class ScheduleStock:
    """Every block of a PrimFunc that came from a stock operator gets a simple schedule.

    Spatial loops are fused, split into parallel, serial and vector parts; a reduction keeps its loops
    inside the parallel one. Kernels of our own are left as they are, and so is a PrimFunc that is one opaque block
    (sort, scatter), whose loops TVM wrote in order.
    """

    def __init__(self, lanes: int):
        self.lanes = lanes

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to every stock PrimFunc."""
        for gvar, function in mod.functions.items():
            if isinstance(function, tirx.PrimFunc) and ir_names.KERNEL_LAYER not in (function.attrs or {}):
                mod.update_func(gvar, self._scheduled(function))
        return mod

    def _scheduled(self, function: tirx.PrimFunc) -> tirx.PrimFunc:
        schedule = Schedule(tvm.IRModule({"main": function}))
        for block in _blocks(schedule) if _has_root(function) else ():
            self._schedule_block(schedule, block)
        return schedule.mod["main"].with_attr(ir_names.KERNEL_LAYER, "")

    def _schedule_block(self, schedule: Schedule, block) -> None:
        loops = schedule.get_loops(block)
        kinds = [int(var.iter_type) for var in schedule.get(block).iter_vars]
        extents = [schedule.get(one).extent for one in loops]
        if len(kinds) != len(loops) or not all(isinstance(extent, tirx.IntImm) and extent.value for extent in extents):
            return
        leading = next((i for i, kind in enumerate(kinds) if kind != _SPATIAL), len(kinds))
        if not leading:
            return
        values = 1
        for extent in extents:
            values *= int(extent)
        fused = schedule.fuse(*loops[:leading])
        if leading == len(loops) and values >= self.lanes and not _has_bool(schedule.get(block)):
            fused, inner = schedule.split(fused, [None, self.lanes])
            schedule.vectorize(inner)
        if values >= PARALLEL_VALUES:
            schedule.parallel(fused)


_SPATIAL = tirx.IterVar.DataPar
_ROOT = "root"


def _has_bool(block) -> bool:
    """Whether the block touches truth values: TVM's LLVM back end emits invalid code for vectors of them."""
    return any(str(region.source.dtype) == "bool" for region in (*block.reads, *block.writes))


def _has_root(function: tirx.PrimFunc) -> bool:
    """Whether its blocks lie in one that TVM puts around them."""
    return isinstance(function.body, SBlockRealize) and function.body.block.name_hint == _ROOT


def _blocks(schedule: Schedule) -> list:
    root = schedule.get_sblock(_ROOT)
    return [block for block in schedule.get_child_blocks(root) if schedule.get_loops(block)]
