"""GPUs as data, and what a user may call one."""

from __future__ import annotations

import pytest
import tvm

from espalier.core.errors import UnsupportedTargetError
from espalier.targets.gpu import ARCHS, GPUS, cuda_target, gpu_of
from espalier.targets.resolve import as_dict, resolve_target

no_gpu = pytest.mark.skipif(tvm.cuda(0).exist, reason="this machine has a GPU")


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.arch)
def test_every_figure_is_there_and_plausible(gpu):
    assert gpu.source
    assert gpu.block_shared_bytes <= gpu.shared_bytes
    assert gpu.peak_macs_s("float16") > gpu.peak_macs_s("float32") > 1e12
    assert gpu.peak_macs_s("int8") == 2 * gpu.peak_macs_s("float16")
    assert 1e11 < gpu.bandwidth_bytes_s < 1e13


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
