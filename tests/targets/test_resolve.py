"""What a user may call a target, and the one line that anything else gets."""

from __future__ import annotations

import json

import pytest
from tvm.target import Target

from espalier.core.errors import UnsupportedTargetError
from espalier.targets.cpu import host_cpu
from espalier.targets.resolve import as_dict, resolve_target


def test_llvm_is_this_machine():
    target = resolve_target("llvm")
    assert str(target.attrs["mcpu"]) == host_cpu()
    assert int(target.attrs["num-cores"]) >= 1


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "llvm", "mcpu": "haswell"},
        {"kind": "llvm", "mcpu": "haswell", "num-cores": 3},
        {"kind": "llvm", "mattr": ["+avx2", "+fma"]},
        {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a76"},
    ],
    ids=str,
)
def test_dicts_texts_and_targets_mean_the_same(options):
    resolved = as_dict(resolve_target(options))
    assert options.items() <= resolved.items()
    assert as_dict(resolve_target(json.dumps(options))) == resolved
    assert as_dict(resolve_target(Target(resolved))) == resolved
    assert as_dict(resolve_target(json.loads(json.dumps(resolved)))) == resolved


REFUSED = {
    "metal": "target metal: there is no code generator for it",
    "fpga": "target fpga: there is no code generator for it",
    "": "options go into a dict",
    "llvm -mcpu=haswell": "options go into a dict",
    "{broken": "not a JSON object",
    "{}": "there is no code generator",
    '{"kind": "llvm", "mcpu": "nosuch"}': "mcpu 'nosuch' is not known to LLVM, this machine is",
    '{"kind": "llvm", "mcpu": "cortex-a76"}': "mcpu 'cortex-a76' is not known to LLVM",
    '{"kind": "llvm", "mtriple": "pdp11-unknown"}': "mtriple 'pdp11-unknown' is for no machine that LLVM knows",
    '{"kind": "llvm", "bogus": 1}': "Unknown config option 'bogus'",
    '{"kind": "llvm", "num-cores": "many"}': "expected type 'int'",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refused_names(text):
    with pytest.raises(UnsupportedTargetError) as raised:
        resolve_target(text)
    assert REFUSED[text] in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [None, 7, ["llvm"], {"mcpu": "haswell"}, {"kind": 5}, {"kind": "llvm", "mcpu": 3}])
def test_refused_values(value):
    with pytest.raises(UnsupportedTargetError) as raised:
        resolve_target(value)
    assert "\n" not in str(raised.value)
