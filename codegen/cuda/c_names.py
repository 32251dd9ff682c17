"""Names of values as C takes them: TVM's kernels name their arguments so, and layers of torch may be called "0"."""

from __future__ import annotations

import tvm

from espalier.ir.dataflow import Dataflow
from espalier.ir.rewriting import rename_variables


@tvm.transform.module_pass(opt_level=0, name="NamesForC")
class NamesForC:
    """Inputs and values of main whose names begin with a digit are called otherwise."""

    def transform_module(self, mod: tvm.IRModule, _context) -> tvm.IRModule:
        """Apply to main."""
        variables = [*mod["main"].params, *Dataflow.of(mod).values]
        return rename_variables(mod, {var: f"layer_{var.name}" for var in variables if var.name[:1].isdigit()})
