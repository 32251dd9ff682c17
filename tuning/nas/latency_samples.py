"""The networks of a study that were measured, a file for each: workers share them, and a kill loses at most one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from espalier.core.errors import InvalidInputError
from espalier.core.files import read_text, write_atomically

from ..latency_predictor import NetworkSample
from ..network_work import NetworkWork


class LatencySamples:
    """folder: of the files; None to keep all in memory."""

    def __init__(self, folder: Path | None = None):
        self.folder, self._known = folder, {}

    def all(self) -> list[NetworkSample]:
        """Also those of other workers and of earlier calls; InvalidInputError for a file that holds none."""
        for path in sorted(self.folder.glob("*.json")) if self.folder else ():
            if path.name not in self._known:
                self._known[path.name] = _read(path)
        return list(self._known.values())

    def add(self, sample: NetworkSample) -> None:
        """Keep one; InvalidInputError if it cannot be written."""
        data = {"work": sample.work.to_dict(), "seconds": sample.seconds, "kernel_seconds": sample.kernel_seconds}
        content = json.dumps(data).encode()
        name = f"{hashlib.sha256(content).hexdigest()[:16]}.json"
        self._known[name] = sample
        if self.folder:
            write_atomically(self.folder / name, content)


def _read(path: Path) -> NetworkSample:
    text = read_text(path, "measured network")
    try:
        data = json.loads(text)
        work, kernels = NetworkWork.of_dict(data["work"]), tuple(map(float, data["kernel_seconds"]))
        if len(kernels) != len(work.kernels):
            raise ValueError
        return NetworkSample(work, float(data["seconds"]), kernels)
    except (ValueError, KeyError, TypeError, InvalidInputError):
        raise InvalidInputError(f"measured network {path}: accepted is what `espalier search` wrote") from None
