"""NVIDIA's driver by ctypes: events, graphs and occupancy, for machines that have neither CUDA's toolkit nor torch.

Signatures are the CUDA driver API's (CUDA Toolkit documentation, "CUDA Driver API"). Everything else of CUDA is reached
through TVM's runtime, whose context (the device's primary one) is current in this thread once it has made a tensor.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable, Iterator
from ctypes import byref, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass

NON_BLOCKING, RELAXED, KERNEL_NODE = 1, 2, 0
"""CU_STREAM_NON_BLOCKING; CU_STREAM_CAPTURE_MODE_RELAXED; CU_GRAPH_NODE_TYPE_KERNEL."""
MISSING = "NVIDIA's driver was not found (libcuda.so.1)"


@functools.cache
def library() -> ctypes.CDLL:
    """The driver; RuntimeError if there is none."""
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise RuntimeError(MISSING) from None


def call(name: str, *arguments) -> None:
    """Call a function of the driver; RuntimeError with the error's name if it fails."""
    status = getattr(library(), name)(*arguments)
    if status:
        text = ctypes.c_char_p()
        library().cuGetErrorName(c_int(status), byref(text))
        raise RuntimeError(f"{name}: {(text.value or b'error').decode()} ({status})")


def version() -> tuple[int, int]:
    """Of CUDA, up to which the driver goes, such as (13, 0)."""
    number = c_int(0)
    call("cuDriverGetVersion", byref(number))
    return number.value // 1000, number.value % 1000 // 10


class Event:
    """A moment on the default stream."""

    def __init__(self):
        self.handle = c_void_p()
        call("cuEventCreate", byref(self.handle), c_uint(0))

    def __del__(self):
        if self.handle:
            library().cuEventDestroy_v2(self.handle)

    def record(self) -> None:
        call("cuEventRecord", self.handle, c_void_p())

    def seconds_since(self, start: Event) -> float:
        """Waits for the event first."""
        call("cuEventSynchronize", self.handle)
        milliseconds = c_float()
        call("cuEventElapsedTime", byref(milliseconds), start.handle, self.handle)
        return milliseconds.value / 1e3


class Graph:
    """What `run(stream)` launches, captured after it ran twice; `replay` launches it on the default stream.

    run: gets the handle of a stream as an integer.
    """

    def __init__(self, run: Callable[[int], None]):
        self.handle = c_void_p()
        with _stream() as stream:
            for _ in range(2):
                run(stream.value)
            call("cuStreamSynchronize", stream)
            with _captured(run, stream) as graph:
                call("cuGraphInstantiateWithFlags", byref(self.handle), graph, c_uint64(0))

    def __del__(self):
        if self.handle:
            library().cuGraphExecDestroy(self.handle)

    def replay(self) -> None:
        call("cuGraphLaunch", self.handle, c_void_p())


@dataclass(frozen=True)
class KernelNode:
    """A launch of a kernel. name: mangled. resident: blocks that one SM holds at a time, as the driver says."""

    name: str
    grid: tuple[int, int, int]
    threads: int
    shared_bytes: int
    resident: int


def kernel_nodes(run: Callable[[int], None]) -> list[KernelNode]:
    """The kernels that `run(stream)` launches; none of them runs."""
    with _stream() as stream, _captured(run, stream) as graph:
        count = c_size_t()
        call("cuGraphGetNodes", graph, None, byref(count))
        nodes = (c_void_p * count.value)()
        call("cuGraphGetNodes", graph, nodes, byref(count))
        return [_kernel_node(node) for node in map(c_void_p, nodes) if _is_kernel(node)]


class _KernelParameters(ctypes.Structure):
    """CUDA_KERNEL_NODE_PARAMS_v2: `kernel` counts where `function` is null."""

    _fields_ = [
        ("function", c_void_p),
        ("grid", c_uint * 3),
        ("block", c_uint * 3),
        ("shared_bytes", c_uint),
        *((name, c_void_p) for name in ("parameters", "extra", "kernel", "context")),
    ]


def _is_kernel(node: c_void_p) -> bool:
    kind = c_int()
    call("cuGraphNodeGetType", node, byref(kind))
    return kind.value == KERNEL_NODE


def _kernel_node(node: c_void_p) -> KernelNode:
    found, name, resident = _KernelParameters(), ctypes.c_char_p(), c_int()
    call("cuGraphKernelNodeGetParams_v2", node, byref(found))
    threads = found.block[0] * found.block[1] * found.block[2]
    kernel = c_void_p(found.function or found.kernel)  # the driver takes either for the other
    call("cuFuncGetName" if found.function else "cuKernelGetName", byref(name), kernel)
    shared = c_size_t(found.shared_bytes)
    call("cuOccupancyMaxActiveBlocksPerMultiprocessor", byref(resident), kernel, c_int(threads), shared)
    return KernelNode(name.value.decode(), tuple(found.grid), threads, found.shared_bytes, resident.value)


@contextlib.contextmanager
def _stream() -> Iterator[c_void_p]:
    stream = c_void_p()
    call("cuStreamCreate", byref(stream), c_uint(NON_BLOCKING))
    try:
        yield stream
    finally:
        library().cuStreamDestroy_v2(stream)


@contextlib.contextmanager
def _captured(run: Callable[[int], None], stream: c_void_p) -> Iterator[c_void_p]:
    """The graph of what `run` launches on the stream."""
    graph = c_void_p()
    try:
        call("cuStreamBeginCapture_v2", stream, c_int(RELAXED))
        try:
            run(stream.value)
        finally:  # a stream that goes on capturing would spoil the next graph
            ended = library().cuStreamEndCapture(stream, byref(graph))
        if ended:
            raise RuntimeError(f"cuStreamEndCapture: error {ended}")
        yield graph
    finally:
        if graph:
            library().cuGraphDestroy(graph)
