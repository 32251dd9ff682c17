"""Loops for the operators that have no kernel of ours: parallel outside, vectors inside."""

from __future__ import annotations

import tvm
from tvm import tirx
from tvm.s_tir import Schedule

from espalier.core import ir_names

PARALLEL_VALUES = 50_000
"""Loop nests over fewer values than this stay on one thread."""


@tvm.transform.module_pass(opt_level=0, name="ScheduleStock")
class ScheduleStock:
    """Every block of a PrimFunc that came from a stock operator gets a simple schedule.

    Spatial loops are fused, split into parallel, serial and vector parts; a reduction keeps its loops
    inside the parallel one. Kernels of our own are left as they are.
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
        for block in _blocks(schedule):
            self._schedule_block(schedule, block)
        return schedule.mod["main"].with_attr(ir_names.KERNEL_LAYER, "")

    def _schedule_block(self, schedule: Schedule, block) -> None:
        loops = schedule.get_loops(block)
        kinds = [int(var.iter_type) for var in schedule.get(block).iter_vars]
        extents = [schedule.get(one).extent for one in loops]
        if len(kinds) != len(loops) or not all(isinstance(extent, tirx.IntImm) for extent in extents):
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


def _has_bool(block) -> bool:
    """Whether the block touches truth values: TVM's LLVM back end emits invalid code for vectors of them."""
    return any(str(region.source.dtype) == "bool" for region in (*block.reads, *block.writes))


def _blocks(schedule: Schedule) -> list:
    root = schedule.get_sblock("root")
    return [block for block in schedule.get_child_blocks(root) if schedule.get_loops(block)]
