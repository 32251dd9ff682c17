"""Calls functions of compiled libraries as if their tensors were on a GPU: LIBRARY NAME NUMBERS TENSORS, for each call.

NUMBERS: a JSON list; TENSORS: how many follow, at the addresses 0x1000, 0x2000, ... Prints exceptions.
To be run as a process of its own: a driver that was opened once is there for the rest of a process.
"""

from __future__ import annotations

import ctypes
import json
import sys

sys.modules["torch"] = None  # tvm_ffi imports it where it is, which takes longer than all the rest
import tvm_ffi  # noqa: E402

CUDA = 2
"""DLPack's number of the device."""


class ManagedTensor(ctypes.Structure):
    """DLManagedTensor, of one dimension."""

    _fields_ = [
        *(("data", ctypes.c_void_p), ("device_type", ctypes.c_int), ("device_id", ctypes.c_int)),
        *(("ndim", ctypes.c_int), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)),
        *(("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p), ("byte_offset", ctypes.c_uint64)),
        *(("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)),
    ]


class OnTheGpu:
    """A tensor as DLPack hands it on; nobody reads what it holds."""

    def __init__(self, address: int):
        self.shape = (ctypes.c_int64 * 1)(8)
        self.tensor = ManagedTensor(address, CUDA, 0, 1, 2, 32, 1, ctypes.addressof(self.shape))

    def __dlpack__(self, **_):
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self.tensor), b"dltensor", None)

    def __dlpack_device__(self):
        return CUDA, 0


def call(path: str, name: str, numbers: str, tensors: str) -> None:
    made = [OnTheGpu(0x1000 * (number + 1)) for number in range(int(tensors))]
    try:
        tvm_ffi.load_module(path)[name](*json.loads(numbers), *map(tvm_ffi.from_dlpack, made))
    except RuntimeError as error:
        print(error)


for first in range(1, len(sys.argv), 4):
    call(*sys.argv[first : first + 4])
