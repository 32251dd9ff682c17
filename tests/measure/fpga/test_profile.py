"""A simulated accelerator's profile: of slow designs too, and within a limit of time."""

from __future__ import annotations

import numpy as np
from models import ModelBuilder
from rtl_projects import needs_verilator

import espalier
from espalier.codegen.fpga_hls.rtl.emit import PATIENCE

CYCLES = 150_000


@needs_verilator
def test_a_design_that_is_silent_for_long_is_no_deadlock():
    """One product a cycle: the image is read long before the mean of all pixels comes."""
    b = ModelBuilder()
    net = b.model([1, 16, 4, 4], b.head(b.relu(b.conv("x", "conv0", 16, 64)), "fc", 64, 2))
    mod, plan = espalier.from_onnx(net), espalier.Plan(weights="uniform<8>")
    images = np.random.default_rng(0).standard_normal((16, 16, 4, 4)).astype(np.float32)
    target = {"kind": "ext_dev", "device": "pynq-z2", "feature.clock_hz": 1e8, "feature.frames_per_s": 1e8 / CYCLES}
    artifact = espalier.build(mod, target, plan, espalier.calibrate(mod, images, plan))
    found = artifact.profile(images[:1], simulate="rtl")
    assert PATIENCE < found.interval_cycles == found.predicted_interval_cycles <= CYCLES
    assert found.latency_cycles == found.predicted_latency_cycles
