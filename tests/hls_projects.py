"""Emitted HLS projects in tests: written into folders, and whether ap_int.h is there to compile them with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from espalier.codegen.fpga_hls.graph import StreamGraph
from espalier.codegen.fpga_hls.hls.emit import emit
from espalier.core.errors import ToolNotFoundError
from espalier.core.files import write_files
from espalier.measure.fpga.hls_simulation import headers_folder

PART = "xc7z020clg400-1"


def has_headers() -> bool:
    """Of types of exact width."""
    try:
        return headers_folder().is_dir()
    except ToolNotFoundError:
        return False


needs_headers = pytest.mark.skipif(not has_headers(), reason="needs ap_int.h: pip install --no-deps hls4ml")


def written(graph: StreamGraph, folder: Path, packs: bool = True) -> Path:
    """The folder, with the project of a graph in it."""
    write_files(folder, emit(graph, PART, 100e6, packs))
    return folder


def images(graph: StreamGraph, count: int = 3) -> np.ndarray:
    """Random numbers for the graph's input, uint8 [count, H, W, C]."""
    return np.random.default_rng(1).integers(0, 256, (count, *graph.input.shape)).astype(np.uint8)
