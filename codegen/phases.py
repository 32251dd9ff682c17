"""What TVM does to what no kernel of ours computes, and to every program in the end; targets add their own passes."""

from __future__ import annotations

from tvm import relax


def dispatch_phase() -> list:
    """Sorting, running sums and drawing by TVM's algorithms for the target in scope.

    Before kernels of ours are in the module: these passes refuse functions of one name, which our kernels have.
    """
    return [relax.backend.DispatchSampling(), relax.backend.DispatchSortScan()]


def loops_phase() -> list:
    """Whatever is still a function of ours or a stock operator to fused loops."""
    return [
        relax.transform.InlinePrivateFunctions(),
        relax.transform.DecomposeOpsForInference(),
        relax.transform.CanonicalizeBindings(),
        relax.transform.LegalizeOps(),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FoldConstant(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(),
    ]


def machine_phase(cuda_graph: bool = False) -> list:
    """Memory and calls of the virtual machine: TVM's order, less RewriteDataflowReshape (it refuses our kernels).

    cuda_graph: everything between the inputs and the outputs is captured as a CUDA graph in the first run and replayed.
    """
    return [
        relax.transform.ToNonDataflow(),
        relax.transform.RemovePurityChecking(),
        relax.transform.CallTIRRewrite(),
        relax.transform.StaticPlanBlockMemory(),
        *([relax.transform.RewriteCUDAGraph()] if cuda_graph else []),
        relax.transform.LowerAllocTensor(),
        relax.transform.KillAfterLastUse(),
        relax.transform.LowerRuntimeBuiltin(),
        relax.transform.ComputePrimValue(),
        relax.transform.VMShapeLower(),
        relax.transform.AttachGlobalSymbol(),
    ]
