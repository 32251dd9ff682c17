"""What torch takes for the same work, on a GPU machine that has it: cuDNN, cuBLAS and whole networks.

channels_last, float16 where networks are, cuDNN's own choice of algorithm, CUDA graphs. Times are taken as ours are.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from . import resnets
from .timing import LAUNCHES, median_s

FORMATS = {"float16": torch.float16, "tfloat32": torch.float32, "float32": torch.float32}
"""In which cuDNN is timed, too; torch has no convolution of bytes."""
DRAWN = 1 << 24
"""Random numbers of an operand; a larger one repeats them."""


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


def drawn(shape, dtype: torch.dtype) -> torch.Tensor:
    """Random numbers of about unit size."""
    size = torch.Size(shape).numel()
    one = torch.randn(min(size, DRAWN), device="cuda").to(dtype)
    return one.repeat(-(-size // DRAWN))[:size].reshape(shape)


def convolution(case: dict, count: int) -> Iterator[tuple[str, dict]]:
    """Variants of a dense layer with their times; none if torch has no such layer. count: of sets of buffers.

    cuDNN's convolution with its bias, ReLU left out, and its convolution, bias and ReLU in one.
    """
    if case["density"] < 1 or case["format"] not in FORMATS:
        return
    dtype, stride, padding = FORMATS[case["format"]], [case["stride"]] * 2, [case["padding"]] * 2
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = case["format"] == "tfloat32"
    sets = []
    for _ in range(count):
        x, weight = (drawn(case[role], dtype).permute(0, 3, 1, 2) for role in ("x", "weight"))
        sets.append([x, weight, drawn(case["y"][3:], dtype)])
    variants = {
        "cuDNN without ReLU": lambda *one: torch.nn.functional.conv2d(*one, stride, padding),
        "cuDNN": lambda *one: torch.cudnn_convolution_relu(*one, stride, padding, [1, 1], 1),
    }
    launches = max(LAUNCHES, count)
    for name, run in variants.items():
        graph = graph_of(lambda run=run: [run(*sets[number % count]) for number in range(launches)])
        yield name, median_s(graph.replay, launches)


def linear(size: int, count: int) -> dict:
    """A square dense layer in float16 at batch 1. count: of sets of buffers."""
    sets = [(drawn((1, size), torch.float16), drawn((size, size), torch.float16)) for _ in range(count)]
    with torch.inference_mode():
        graph = graph_of(lambda: [torch.nn.functional.linear(*sets[number % count]) for number in range(LAUNCHES)])
        return median_s(graph.replay, LAUNCHES)


def network(name: str, batch: int, mode: str | None) -> dict[str, dict]:
    """Times of a network of `resnets` by variant: eager and in a CUDA graph, or compiled in a mode and in a graph."""
    model = getattr(resnets, name)().cuda().eval().half().to(memory_format=torch.channels_last)
    x = torch.randn(batch, 3, 224, 224, device="cuda").half().to(memory_format=torch.channels_last)
    torch.backends.cudnn.benchmark = True
    with torch.inference_mode():
        if mode is None:
            variants = {"eager": lambda: model(x), "graph": graph_of(lambda: model(x)).replay}
        else:
            compiled = torch.compile(model, mode=mode, fullgraph=True)
            compiled(x)
            variants = {f"compiled ({mode}), graph": graph_of(lambda: compiled(x)).replay}
        return {variant: median_s(run) for variant, run in variants.items()}
