"""Networks of a trained supernet, ready to be judged and compiled, and the images for both.

The images of the test set are divided: the search looks at the first half only, final figures are of the second half.
The recipe of "resnet-cifar" begins with published weights that have seen all training images, so that none of these can
be held out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import tvm

from espalier.core.architecture import SPACES, Architecture, ArchitectureSpace
from espalier.core.calibration import Calibration
from espalier.core.errors import InvalidInputError
from espalier.core.files import sha256_of
from espalier.core.plan import Plan
from espalier.frontend import bundled
from espalier.frontend.layer_names import CONVOLUTION, MATMUL, name_layers
from espalier.frontend.torch import from_torch, require_torch
from espalier.measure import agreement

from .tuned_networks import TunedNetworks

SUPERNETS = Path(__file__).with_name("supernets")
"""Folder of the trained supernets that come with the package, each named for its space."""

RECALIBRATION, VALIDATION = 1024, 2000
"""Images for batch norms and ranges, and images by which a network that is not trained further is judged, at most."""

RANGE_IMAGES = 64
SUFFIX = ".json"
"""What the table of fine-tuned networks is called instead of the weights' ".pt"."""

KEPT = 4
"""Networks that are kept, for the evaluators that ask for the same one in turn."""


@dataclass(frozen=True)
class Split:
    """Images uint8 [N, 32, 32, 3] and labels: to search with, for the final figures, and without labels to calibrate.

    origin: what they are, in words.
    """

    calibration: np.ndarray
    search: tuple[np.ndarray, np.ndarray]
    final: tuple[np.ndarray, np.ndarray]
    origin: str

    @staticmethod
    def bundled() -> Split:
        """Of the 1,000 test images in the package, half each."""
        images, labels, calibration = bundled.pictures()
        half = len(images) // 2
        return Split(calibration, (images[:half], labels[:half]), (images[half:], labels[half:]), "bundled test images")

    @staticmethod
    def of(data: Path) -> Split:
        """Of CIFAR-10; errors as of `training.cifar10`."""
        from espalier.training.cifar10 import load_test, load_train

        images, labels = load_test(data)
        half = len(images) // 2
        calibration = load_train(data, RECALIBRATION)[0]
        search, final = (images[:half], labels[:half]), (images[half:], labels[half:])
        return Split(calibration, search, final, "CIFAR-10 test images")


class SupernetNetworks:
    """The networks of a supernet by architecture.

    tuned: a table of networks that were fine-tuned from it, by default the one beside its weights, if there is one and
        takes_table. Without a table a network's accuracy is what it has as a part of the supernet.
    Raises InvalidInputError for weights of another network and a table of another supernet, ToolNotFoundError without
    torch.
    """

    def __init__(
        self, space: ArchitectureSpace, weights: Path | None, split: Split, tuned: Path | None = None,
        takes_table: bool = True,
    ):  # fmt: skip
        torch = require_torch()
        from espalier.training.data import Images
        from espalier.training.finished import EXAMPLE

        self.space, self.split = space, split
        self.weights = weights or SUPERNETS / f"{space.name}.pt"
        if weights is None and not self.weights.is_file():
            raise InvalidInputError(
                f"space {space.name}: no supernet comes with the package, give --supernet; train one with "
                "python -m espalier.training"
            )
        table = tuned or self.weights.with_suffix(SUFFIX)
        takes_table = tuned is not None or (takes_table and table.is_file())
        self.tuned = _table_of(table, self.weights) if takes_table else None
        self.largest, self.example = _loaded(self.weights, space), EXAMPLE
        labels = np.zeros(len(split.calibration), np.int64)
        self.calibration_images = Images(split.calibration[:RECALIBRATION], labels, torch.device("cpu"))
        self.network = lru_cache(KEPT)(self._network)
        self.module = lru_cache(KEPT)(self._module)

    def __reduce__(self):
        """A copy for another machine takes the weights along."""
        return _restored, (self.space, self.weights.read_bytes(), self.split, self.tuned)

    def calibrated(self, architecture: Architecture, plan: Plan, batch: int = 1):
        """(mod, calibration) for a plan, fitted on the images to calibrate with; mod computes `batch` images. Gates are
        the supernet's, where it has any."""
        return self.fitted(self.network(architecture), plan, batch)

    def fitted(self, network, plan: Plan, batch: int = 1):
        """The same of a torch network that was trained further."""
        from espalier import api
        from espalier.training import export

        if (gated := self._gated(network, plan)) is not None:
            mod, _, calibration = export(gated, self.examples(batch))
            alone = export(gated, self.example)[0] if batch > 1 else mod
            images = bundled.normalise(self.split.calibration[:RANGE_IMAGES])
            return mod, api.calibrate(alone, images, plan, gates_from=calibration)
        mod = from_torch(network, self.examples(batch))
        if all(plan.layer(name).weights == "float32" and plan.layer(name).density == 1 for name in plan.layers):
            return mod, Calibration()
        images = bundled.normalise(self.split.calibration[:RANGE_IMAGES])
        return mod, api.calibrate(from_torch(network, self.example) if batch > 1 else mod, images, plan)

    def examples(self, batch: int):
        """An input of so many images."""
        return self.example.expand(batch, -1, -1, -1).contiguous()

    def _gated(self, network, plan: Plan):
        """The network with the supernet's gates; None where it has none, or the plan does not gate the network."""
        from espalier.training.gates import found_gates, gated_at, set_density
        from espalier.training.sites import find_sites
        from espalier.training.supernet import recalibrate
        from espalier.training.supernet_gates import share_gates

        lowest = min((plan.layer(name).density for name in plan.layers), default=1.0)
        if lowest == 1 or not found_gates(self.largest):
            return None
        found = find_sites(network, plan, self.example)
        if not found.sites:
            return None
        gated = gated_at(found, network, plan)
        share_gates(gated, self.largest)
        set_density(gated, lowest)
        return recalibrate(gated, self.calibration_images)

    def _network(self, architecture: Architecture):
        from espalier.training.supernet import extract, recalibrate

        return recalibrate(extract(self.largest, architecture), self.calibration_images)

    def _module(self, architecture: Architecture, batch: int = 1):
        return traced(self.network(architecture), batch)


def _restored(space: ArchitectureSpace, weights: bytes, split: Split, tuned: TunedNetworks | None) -> SupernetNetworks:
    """What `SupernetNetworks.__reduce__` took apart."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "supernet.pt"
        path.write_bytes(weights)
        found = SupernetNetworks(space, path, split)
    found.tuned = tuned
    return found


def traced(network, batch: int = 1) -> tvm.IRModule:
    """What `from_torch` makes of a network of a family, at a fraction of its time: the modules are known to be plain
    ones, so that their calls are written down without any tensors."""
    from torch import fx, nn
    from tvm.relax.frontend.torch import from_fx

    from espalier.training.finished import EXAMPLE

    graph_module = fx.symbolic_trace(network)
    calls = [node.target for node in graph_module.graph.nodes if node.op == "call_module"]
    kinds = {nn.Conv2d: CONVOLUTION, nn.Linear: MATMUL}
    layers = [(kinds.get(type(network.get_submodule(name))), name) for name in calls]
    mod = from_fx(graph_module, [((batch, *EXAMPLE.shape[1:]), "float32")], unwrap_unit_return_tuple=True)
    return name_layers(mod, [one for one in layers if one[0]])


def top1(run: Callable[[np.ndarray], np.ndarray], images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images uint8 [N, 32, 32, 3] to which `run`, on one at a time, gives the highest score at their label."""
    return agreement.top1(np.concatenate([run(bundled.normalise(one[None])) for one in images]), labels)


def _loaded(path: Path, space: ArchitectureSpace):
    from espalier.training.finished import load_finished

    network = load_finished(path)
    architecture = getattr(network, "architecture", None)
    if architecture != space.largest:
        of = next((name for name, one in SPACES.items() if one.largest == architecture), "no space")
        raise InvalidInputError(f"supernet {path}: is of {of}, accepted is one of {space.name}")
    return network


def _table_of(path: Path, weights: Path) -> TunedNetworks:
    found = TunedNetworks.read(path)
    if found.supernet != sha256_of(weights):
        raise InvalidInputError(
            f"tuned networks {path}: began with another supernet than {weights}; sample networks of this one again"
        )
    return found
