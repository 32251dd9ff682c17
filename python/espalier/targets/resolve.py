"""From what a user calls a target to a TVM target."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tvm.target import Target

from espalier.core.errors import UnsupportedTargetError

from .boards import KIND, PREFIX
from .cpu import cpu_target
from .fpga import fpga_target
from .gpu import cuda_target, tagged_options

ACCEPTED = (
    'accepted are "llvm", "cuda", "nvidia/nvidia-h100", "fpga_hls/<board>" and dicts such as '
    '{"kind": "llvm", "mcpu": "znver4"}'
)
MAKERS = {"llvm": cpu_target, "cuda": cuda_target, KIND: fpga_target}


def resolve_target(target: str | Mapping | Target) -> Target:
    """The TVM target for a name, a JSON text, a dict or a TVM target.

    Raises UnsupportedTargetError for a kind that there is no code generator for.
    """
    options = _options(target)
    make = MAKERS.get(str(options.get("kind")))
    if make is None:
        raise UnsupportedTargetError(f"target {target!s}: there is no code generator for it, {ACCEPTED}")
    return make(options)


def _options(target: str | Mapping | Target) -> dict:
    if isinstance(target, Target):
        return {"kind": str(target.kind.name), **{key: _plain(value) for key, value in target.attrs.items()}}
    if isinstance(target, Mapping):
        return dict(target)
    if not isinstance(target, str):
        raise UnsupportedTargetError(f"target: got {type(target).__name__}, {ACCEPTED}")
    if target.lstrip().startswith("{"):
        try:
            return json.loads(target)
        except json.JSONDecodeError as error:
            raise UnsupportedTargetError(f"target {target}: not a JSON object ({error})") from None
    if target.split() != [target]:
        raise UnsupportedTargetError(f"target {target!r}: options go into a dict, {ACCEPTED}")
    family, _, device = target.partition("/")
    if family == PREFIX:
        return {"kind": KIND, "device": device}
    return tagged_options(target) if family == "nvidia" else {"kind": target}


def _plain(value):
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, int) else str(value)


def as_dict(target: Target) -> dict:
    """The target as plain values that `resolve_target` takes back."""
    return _options(target)
