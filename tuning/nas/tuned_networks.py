"""What networks of a space are worth after fine-tuning: the table from which accuracies are predicted.

It lies beside the weights of the supernet that the networks began with.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espalier.core.architecture import Architecture
from espalier.core.errors import EspalierError, InvalidInputError
from espalier.core.files import read_text, write_atomically
from espalier.core.formats import parse_format

VERSION = 1


@dataclass(frozen=True)
class TunedNetwork:
    """A network with the format of each stage's weights.

    supernet_accuracy: as part of the supernet, in these formats; accuracy: after fine-tuning; both 0 to 1, of images
    that a search looks at. date: of the training, in UTC.
    Raises InvalidInputError for what is none.
    """

    architecture: str
    weights: tuple[str, ...]
    supernet_accuracy: float
    accuracy: float
    date: str

    def __post_init__(self):
        stages = Architecture.parse(self.architecture).stages
        formats = [parse_format(one) for one in self.weights]
        if len(formats) != len(stages):
            raise InvalidInputError(
                f"tuned network: got {len(formats)} formats, accepted are those of {len(stages)} stages"
            )
        for name in ("supernet_accuracy", "accuracy"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInputError(f"tuned network, {name}: got {getattr(self, name)}, accepted is 0 to 1")


@dataclass(frozen=True)
class TunedNetworks:
    """supernet: the digest of its weights. training: how the networks were trained, in words; images: by which they
    were judged. command: what wrote the table."""

    supernet: str
    training: str
    images: str
    command: str
    networks: tuple[TunedNetwork, ...] = ()

    @property
    def count(self) -> int:
        """Of architectures: one may be there in several formats."""
        return len({one.architecture for one in self.networks})

    @property
    def digest(self) -> str:
        """Of all that predictions depend on."""
        return hashlib.sha256(repr(self.networks).encode()).hexdigest()

    def with_more(self, networks: Sequence[TunedNetwork]) -> TunedNetworks:
        """The same table with these networks too."""
        return dataclasses.replace(self, networks=(*self.networks, *networks))

    def write(self, path: Path) -> None:
        """As JSON; InvalidInputError if it cannot be written."""
        content = {"version": VERSION, **dataclasses.asdict(self)}
        write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())

    @staticmethod
    def read(path: Path) -> TunedNetworks:
        """What `write` wrote; InvalidInputError for anything else."""
        text = read_text(path, "tuned networks")
        try:
            content = json.loads(text)
            if content.pop("version") != VERSION:
                raise ValueError
            rows = tuple(TunedNetwork(**{**one, "weights": tuple(one["weights"])}) for one in content.pop("networks"))
            return TunedNetworks(**content, networks=rows)
        except (ValueError, KeyError, TypeError, AttributeError, EspalierError):
            raise InvalidInputError(f"tuned networks {path}: accepted is what this version's sampling wrote") from None
