"""The state of a training on disk, and the finished weights."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import nn

from ..core.errors import InvalidInputError
from ..core.files import write_atomically

VERSION = 1
LARGEST_BYTES = 10_000_000
"""Of finished weights."""


def save_checkpoint(path: Path, state: dict) -> None:
    """Write a state atomically: a training that is killed leaves the last whole one."""
    write_atomically(path, _bytes_of({"espalier_training": VERSION, **state}))


def load_checkpoint(path: Path) -> dict:
    """What `save_checkpoint` wrote; InvalidInputError if it is damaged or something else."""
    state = _read(path)
    if state.get("espalier_training") != VERSION:
        raise InvalidInputError(f"checkpoint {path}: not one of a training of this version")
    return state


def save_weights(path: Path, state: dict, facts: dict) -> None:
    """Write parameters and buffers with plain values `facts`; at most 10 MB."""
    content = _bytes_of({"espalier_weights": VERSION, "state_dict": state, "facts": facts})
    if len(content) > LARGEST_BYTES:
        raise InvalidInputError(f"{path}: {len(content)} bytes of weights, accepted are {LARGEST_BYTES}")
    write_atomically(path, content)


def read_weights(path: Path) -> tuple[dict, dict]:
    """(state dict, facts) that `save_weights` wrote; InvalidInputError if the file is damaged or something else."""
    stored = _read(path)
    if stored.get("espalier_weights") != VERSION:
        raise InvalidInputError(f"weights {path}: not those of a finished training of this version")
    return stored["state_dict"], stored["facts"]


def is_finished(path: Path) -> bool:
    """Whether a file is one of `save_weights`; InvalidInputError if it is damaged or no checkpoint at all."""
    return "espalier_weights" in _read(path)


def load_weights(model: nn.Module, path) -> nn.Module:
    """The same model with the weights of a file: a state dict, alone or under the key "state_dict".

    Raises InvalidInputError if the file is damaged or holds the weights of another architecture.
    """
    state = _read(Path(path))
    return with_state(model, state.get("state_dict", state), path)


def with_state(model: nn.Module, state: dict, path) -> nn.Module:
    """The same model with these parameters and buffers, which came from `path`."""
    state = {name.removeprefix("module."): value for name, value in state.items()}
    own = model.state_dict()
    for name in sorted(own.keys() | state.keys()):
        got, accepted = (list(one[name].shape) if name in one else "nothing" for one in (state, own))
        if got != accepted and not (name.endswith("num_batches_tracked") and name not in state):
            raise InvalidInputError(
                f"checkpoint {path}: of another architecture, {name} is {got}, accepted is {accepted}"
            )
    model.load_state_dict(state, strict=False)
    return model


def _bytes_of(state: dict) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _read(path: Path) -> dict:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"checkpoint {path}: cannot be read ({error.strerror})") from None
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a truncated archive raises nearly anything
        raise InvalidInputError(f"checkpoint {path}: truncated or no checkpoint ({type(error).__name__})") from None
    if not isinstance(state, dict):
        raise InvalidInputError(f"checkpoint {path}: holds {type(state).__name__}, accepted is a state dict")
    return state
