"""FPGA boards as TVM targets: "fpga_hls/<board>"."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tvm.target import Target

from espalier.core.errors import UnsupportedTargetError

from .boards import BOARDS, BY_NAME, PREFIX, Board, tag_options

FRAMES_PER_S, CLOCK_HZ = "feature.frames_per_s", "feature.clock_hz"
OPTIONS = (FRAMES_PER_S, CLOCK_HZ)
ACCEPTED = f"accepted are {', '.join(f'{PREFIX}/{board.name}' for board in BOARDS)}"


def fpga_target(options: Mapping) -> Target:
    """The TVM target for the options of a dict of the kind ext_dev.

    "device" names the board; "feature.frames_per_s" asks for the smallest design that is as fast, without it the
    fastest one that fits is made; "feature.clock_hz" is another clock than the board's.
    Raises UnsupportedTargetError for anything else.
    """
    known = {"kind", "keys", "tag", "model", "device", *OPTIONS}
    unknown = sorted(set(options) - known)
    if unknown:
        raise UnsupportedTargetError(
            f"target: unknown option {unknown[0]!r}, accepted are device, {', '.join(OPTIONS)}"
        )
    name = options.get("device", options.get("model", ""))
    if name not in BY_NAME:
        raise UnsupportedTargetError(f"target: there is no board {name!r}, {ACCEPTED}")
    numbers = {key: _positive(key, options[key]) for key in OPTIONS if key in options}
    return Target({**tag_options(BY_NAME[name]), **numbers})


def board_of(target: Target) -> Board:
    """The board of a target that `fpga_target` made, with the clock that was asked for."""
    board = BY_NAME[str(target.attrs["device"])]
    return dataclasses.replace(board, clock_hz=_option(target, CLOCK_HZ) or board.clock_hz)


def frames_per_s(target: Target) -> float | None:
    """What the design has to reach; None for as much as fits."""
    return _option(target, FRAMES_PER_S)


def _option(target: Target, key: str) -> float | None:
    return float(str(target.attrs[key])) if key in target.attrs else None


def _positive(key: str, value) -> str:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < float("inf"):
        raise UnsupportedTargetError(f"target, {key}: got {value!r}, accepted is a number above 0")
    return repr(number)
