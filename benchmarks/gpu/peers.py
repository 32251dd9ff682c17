"""What torch takes for the same work, on a GPU machine that has it: cuDNN, cuBLAS and whole networks.

channels_last, float16 where networks are, cuDNN's own choice of algorithm, CUDA graphs. Times are taken as ours are.
"""

from __future__ import annotations

import torch

from .timing import LAUNCHES, median_s

FORMATS = {"float16": torch.float16, "tfloat32": torch.float32, "float32": torch.float32}
"""In which cuDNN is timed, too; torch has no convolution of bytes."""


def facts() -> dict:
    """Versions, and the matrix products per second that cuBLAS reaches."""
    found = {"torch": torch.__version__, "cudnn": torch.backends.cudnn.version()}
    for name in ("float16", "tfloat32"):
        torch.backends.cuda.matmul.allow_tf32 = name == "tfloat32"
        a, b = (torch.randn(8192, 8192, device="cuda").to(FORMATS[name]) for _ in range(2))
        found[f"{name}_macs_s"] = 8192**3 / median_s(lambda a=a, b=b: a @ b)["median_s"]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return found


def graph_of(run) -> torch.cuda.CUDAGraph:
    """A graph of what `run` launches, after a warm-up."""
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(2):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph


def convolution(case: dict, count: int) -> dict | None:
    """The time of a dense layer of a case, with its bias and ReLU; None if torch has none such. count: of buffers."""
    if case["density"] < 1 or case["format"] not in FORMATS:
        return None
    dtype = FORMATS[case["format"]]
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = case["format"] == "tfloat32"
    sets = []
    for _ in range(count):
        x, weight = (torch.randn(case[role], device="cuda").to(dtype).permute(0, 3, 1, 2) for role in ("x", "weight"))
        sets.append([x, weight, torch.randn(case["y"][3], device="cuda").to(dtype)])
    run = torch.nn.functional.conv2d
    launches = max(LAUNCHES, count)
    graph = graph_of(
        lambda: [run(*sets[number % count], case["stride"], case["padding"]).relu_() for number in range(launches)]
    )
    torch.backends.cudnn.allow_tf32 = False
    return median_s(graph.replay, launches)


def linear(size: int) -> dict:
    """A square dense layer in float16 at batch 1, larger than the L2 cache."""
    weight, x = torch.randn(size, size, device="cuda").half(), torch.randn(1, size, device="cuda").half()
    graph = graph_of(lambda: [torch.nn.functional.linear(x, weight) for _ in range(LAUNCHES)])
    return median_s(graph.replay, LAUNCHES)


def network(name: str, batch: int, compiles: bool) -> dict[str, dict]:
    """torchvision's network by variant: as it is and in a CUDA graph, or compiled and in a graph."""
    import torchvision

    model = getattr(torchvision.models, name)().cuda().eval().half().to(memory_format=torch.channels_last)
    x = torch.randn(batch, 3, 224, 224, device="cuda").half().to(memory_format=torch.channels_last)
    torch.backends.cudnn.benchmark = True
    with torch.inference_mode():
        if compiles:
            compiled = torch.compile(model, mode="max-autotune-no-cudagraphs", fullgraph=True)
            compiled(x)
            variants = {"compiled graph": graph_of(lambda: compiled(x)).replay}
        else:
            variants = {"eager": lambda: model(x), "graph": graph_of(lambda: model(x)).replay}
        return {variant: median_s(run) for variant, run in variants.items()}
