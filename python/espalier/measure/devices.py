"""Where trials run: this machine, or one that waits at a tracker of TVM's RPC."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm
from tvm import rpc

from .threads import set_threads

_BIG_CORES = 1  # kBig in TVM's threading_backend.h; RPC passes no lists, so cores cannot be named

NO_DEVICE = "no device waits under the key"


class Session(ABC):
    """A device at work. device: TVM's name of it there."""

    device: tvm.runtime.Device

    @abstractmethod
    def load(self, library: Path) -> tvm.runtime.Module:
        """The functions of a library that was linked for the device."""

    def tensors(self, arrays: list[np.ndarray]) -> list[tvm.runtime.Tensor]:
        """Copies of arrays in the device's memory."""
        return [tvm.runtime.tensor(array, self.device) for array in arrays]


@dataclass(frozen=True)
class Local:
    """This machine."""

    @property
    def name(self) -> str:
        """What records call the machine: "" for the CPU's own name."""
        return ""

    def session(self, threads: int, device: str = "cpu") -> Session:
        """The machine with so many threads. device: TVM's name of the part of it that is meant."""
        return _LocalSession(threads, device)


class _LocalSession(Session):
    def __init__(self, threads: int, device: str):
        self.device = tvm.device(device, 0)
        set_threads(threads)

    def load(self, library: Path) -> tvm.runtime.Module:
        return tvm.runtime.load_module(str(library))


@dataclass(frozen=True)
class Remote:
    """The machines that wait under a key at a tracker (`python -m tvm.exec.rpc_tracker`, `... rpc_server`).

    session_s: seconds after which a tracker takes a machine back from a trial that does not end.
    """

    host: str
    port: int
    key: str
    session_s: int = 60

    @property
    def name(self) -> str:
        """What records call the machines: all that wait under a key are taken to be of one kind."""
        return f"rpc {self.key}"

    def session(self, threads: int, device: str = "cpu") -> Session:
        """One of the machines, for as long as the session lives; RuntimeError with NO_DEVICE if none is there."""
        tracker = rpc.connect_tracker(self.host, self.port)
        servers = [one["key"] for one in tracker.summary()["server_info"]]
        if f"server:{self.key}" not in servers:
            raise RuntimeError(f"{NO_DEVICE} {self.key} at {self.host}:{self.port}")
        return _RemoteSession(tracker, self, threads, device)


class _RemoteSession(Session):
    def __init__(self, tracker: rpc.TrackerSession, remote: Remote, threads: int, device: str):
        self.session = tracker.request(remote.key, session_timeout=remote.session_s, max_retry=1)
        self.device = self.session.device(device, 0)
        self.session.get_function("runtime.config_threadpool")(_BIG_CORES, threads)

    def load(self, library: Path) -> tvm.runtime.Module:
        self.session.upload(str(library))
        return self.session.load_module(library.name)
