"""Instruction sets are found from the target's features, whatever machine runs the tests."""

from __future__ import annotations

import platform

import pytest

from espalier.core.errors import UnsupportedTargetError
from espalier.targets import cpu
from espalier.targets.cpu import ISAS, check_runs_here, cpu_features, cpu_target, isa_of

X86, ARM = "x86_64-linux-gnu", "aarch64-linux-gnu"


@pytest.mark.parametrize(
    ("options", "isa"),
    [
        ({"mtriple": X86, "mcpu": "znver4"}, "avx512"),
        ({"mtriple": X86, "mcpu": "skylake-avx512"}, "avx512"),
        ({"mtriple": X86, "mcpu": "haswell"}, "avx2"),
        ({"mtriple": X86, "mcpu": "znver3"}, "avx2"),
        ({"mtriple": X86, "mcpu": "sandybridge"}, "generic"),
        ({"mtriple": X86}, "generic"),
        ({"mtriple": ARM}, "neon"),
        ({"mtriple": ARM, "mcpu": "neoverse-n1"}, "neon"),
        ({"mtriple": "riscv64-linux-gnu"}, "generic"),
    ],
    ids=str,
)
def test_isa_of(options, isa):
    assert isa_of(cpu_target({"kind": "llvm", **options})).name == isa


@pytest.mark.parametrize(("mcpu", "extension"), [("znver4", "avx512bf16"), ("skylake-avx512", ""), ("haswell", "")])
def test_the_bfloat16_extension(mcpu, extension):
    assert isa_of(cpu_target({"kind": "llvm", "mtriple": X86, "mcpu": mcpu})).bfloat16 == extension


@pytest.mark.parametrize(
    ("options", "int8", "permute"),
    [
        ({"mcpu": "znver4"}, "avx512vnni", "avx512vbmi"),
        ({"mcpu": "cascadelake"}, "avx512vnni", ""),
        ({"mcpu": "skylake-avx512"}, "avx512bw", ""),
        ({"mcpu": "knl"}, "", ""),
        ({"mcpu": "alderlake"}, "avxvnni", ""),
        ({"mcpu": "haswell"}, "avx2", ""),
        ({"mcpu": "x86-64"}, "", ""),
    ],
    ids=str,
)
def test_the_extensions_for_bytes(options, int8, permute):
    isa = isa_of(cpu_target({"kind": "llvm", "mtriple": X86, **options}))
    assert (isa.int8, isa.permute) == (int8, permute)
    assert isa.has_vnni == (int8 in ("avx512vnni", "avxvnni"))


@pytest.mark.parametrize(("mcpu", "tiles"), [("sapphirerapids", "amx-int8"), ("icelake-server", ""), ("haswell", "")])
def test_the_extension_for_tiles(mcpu, tiles):
    assert isa_of(cpu_target({"kind": "llvm", "mtriple": X86, "mcpu": mcpu})).tiles == tiles


def test_tiles_that_linux_refuses_are_not_used(monkeypatch):
    monkeypatch.setattr(cpu, "may_use_tiles", lambda: False)
    monkeypatch.setattr(cpu, "host_cpu", lambda: "sapphirerapids")
    assert isa_of(cpu_target({"kind": "llvm"})).tiles == ""
    with pytest.raises(UnsupportedTargetError, match="the artifact needs amx-int8 and this machine .* has none"):
        check_runs_here("amx-int8")


def test_isas_are_listed_from_wide_to_narrow():
    lanes = [isa.lanes for isa in ISAS]
    assert lanes == sorted(lanes, reverse=True)
    assert ISAS[-1].feature == ""


def test_every_x86_feature_is_one_that_llvm_knows():
    features = cpu_features(cpu_target({"kind": "llvm", "mtriple": X86, "mcpu": "znver4"}))
    assert {"avx512f", "avx2"} <= features


def test_the_baseline_runs_everywhere():
    check_runs_here("generic")
    check_runs_here(isa_of(cpu_target({"kind": "llvm"})).name)


def test_every_feature_that_is_needed_must_be_there():
    with pytest.raises(UnsupportedTargetError, match="the artifact needs sve and this machine .* has none"):
        check_runs_here("generic+sve")


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="neon runs on this machine")
def test_what_this_machine_lacks_is_named():
    with pytest.raises(UnsupportedTargetError, match="the artifact needs neon and this machine .* has none"):
        check_runs_here("neon")
