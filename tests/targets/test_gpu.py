"""GPUs as data, and what a user may call one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import tvm

from espalier.core.errors import UnsupportedTargetError
from espalier.targets import gpu as gpu_module
from espalier.targets.gpu import ARCHS, GPUS, cuda_target, gpu_of
from espalier.targets.resolve import as_dict, resolve_target

no_gpu = pytest.mark.skipif(tvm.cuda(0).exist, reason="this machine has a GPU")


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.device)
def test_every_figure_is_there_and_plausible(gpu):
    assert gpu.source
    assert gpu.block_shared_bytes <= gpu.shared_bytes
    assert gpu.peak_macs_s("float16") > gpu.peak_macs_s("float32") > 1e12
    assert gpu.peak_macs_s("int8") == 2 * gpu.peak_macs_s("float16")
    assert gpu.peak_macs_s("float16") > gpu.peak_macs_s("dp4a") > 1e12
    assert 1e11 < gpu.bandwidth_bytes_s < 1e13
    assert [one for one in GPUS if set(one.names) & set(gpu.names)] == [gpu]


def test_the_peak_of_an_h100_is_its_data_sheets():
    """990 TFLOP/s dense float16 at 1.83 GHz: white paper, table 1 (at the boost clock of 1.83 GHz)."""
    assert gpu_of(resolve_target("nvidia/nvidia-h100")).peak_macs_s("float16") * 2 == pytest.approx(989.4e12, rel=1e-2)


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("nvidia/nvidia-h100", "sm_90a"),
        ("nvidia/nvidia-a100", "sm_80"),
        ({"kind": "cuda", "arch": "sm_86"}, "sm_86"),
        ({"kind": "cuda", "arch": "sm_90"}, "sm_90a"),
    ],
)
def test_names(name, arch):
    target = resolve_target(name)
    assert gpu_of(target).arch == arch
    assert as_dict(resolve_target(as_dict(target))) == as_dict(target)


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("nvidia/nvidia-h100", "H100-SXM5-80GB"),
        ("nvidia/nvidia-h200", "H200-SXM-141GB"),
        ({"kind": "cuda", "arch": "sm_90a", "model": "NVIDIA H200"}, "H200-SXM-141GB"),
        ("nvidia/geforce-rtx-3090", "nvidia/geforce-rtx-3090 (with the figures of A10)"),
        ("nvidia/nvidia-a30", "nvidia/nvidia-a30 (with the figures of A100-SXM4-80GB)"),
        ({"kind": "cuda", "arch": "sm_86"}, "A10"),
    ],
)
def test_a_gpu_has_its_own_figures_or_says_whose_they_are(name, device):
    target = resolve_target(name)
    assert gpu_of(target).device == device
    assert gpu_of(resolve_target(as_dict(target))).device == device


@pytest.mark.parametrize(
    ("name", "capability", "device"),
    [
        ("NVIDIA H200", "9.0", "H200-SXM-141GB"),
        ("NVIDIA H100 80GB HBM3", "9.0", "H100-SXM5-80GB"),
        ("NVIDIA H100 PCIe", "9.0", "NVIDIA H100 PCIe (with the figures of H100-SXM5-80GB)"),
        ("NVIDIA GeForce RTX 3090", "8.6", "NVIDIA GeForce RTX 3090 (with the figures of A10)"),
    ],
)
def test_bare_cuda_is_the_gpu_that_is_present_by_its_name(name, capability, device, monkeypatch):
    present = SimpleNamespace(exist=True, compute_version=capability, device_name=name)
    monkeypatch.setattr(gpu_module.tvm, "cuda", lambda _: present)
    assert gpu_of(resolve_target("cuda")).device == device


@no_gpu
def test_bare_cuda_without_a_gpu_lists_the_archs():
    with pytest.raises(UnsupportedTargetError) as raised:
        resolve_target("cuda")
    assert all(arch in str(raised.value) for arch in ARCHS)
    assert "none was found" in str(raised.value)


@pytest.mark.parametrize("options", [{"arch": "sm_50"}, {"arch": "sm_999"}, {"arch": 90}])
def test_other_archs_are_refused(options):
    with pytest.raises(UnsupportedTargetError, match="got the arch"):
        cuda_target(options)


def test_an_unknown_tag_is_refused():
    with pytest.raises(UnsupportedTargetError, match="TVM knows no such tag"):
        resolve_target("nvidia/nosuch")
