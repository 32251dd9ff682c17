"""NVIDIA's driver by ctypes: events and graphs, for machines that have neither CUDA's toolkit nor torch.

Signatures are the CUDA driver API's (CUDA Toolkit documentation, "CUDA Driver API"). Everything else of CUDA is reached
through TVM's runtime, whose context (the device's primary one) is current in this thread once it has made a tensor.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from ctypes import byref, c_float, c_int, c_uint, c_uint64, c_void_p

NON_BLOCKING, RELAXED = 1, 2
"""CU_STREAM_NON_BLOCKING; CU_STREAM_CAPTURE_MODE_RELAXED."""
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
        stream, graph = c_void_p(), c_void_p()
        call("cuStreamCreate", byref(stream), c_uint(NON_BLOCKING))
        try:
            for _ in range(2):
                run(stream.value)
            call("cuStreamSynchronize", stream)
            call("cuStreamBeginCapture_v2", stream, c_int(RELAXED))
            try:
                run(stream.value)
            finally:  # a stream that goes on capturing would spoil the next graph
                ended = library().cuStreamEndCapture(stream, byref(graph))
            if ended:
                raise RuntimeError(f"cuStreamEndCapture: error {ended}")
            call("cuGraphInstantiateWithFlags", byref(self.handle), graph, c_uint64(0))
        finally:
            if graph:
                library().cuGraphDestroy(graph)
            library().cuStreamDestroy_v2(stream)

    def __del__(self):
        if self.handle:
            library().cuGraphExecDestroy(self.handle)

    def replay(self) -> None:
        call("cuGraphLaunch", self.handle, c_void_p())
