"""Stream graphs as a JSON text and arrays, and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import numpy as np

from espalier.core.errors import CorruptArtifactError, EspalierError
from espalier.core.integer import AddSpec, GateArithmetic, LayerArithmetic, MeanPoolSpec

from .graph import Edge, StreamGraph
from .ports import LISTS
from .stages import Adapter, Add, ChannelList, Convolution, Folding, Fork, Gate, MaxPool, MeanPool, Products, Stage

VERSION = 1
KINDS = {kind.__name__: kind for kind in (Convolution, MaxPool, MeanPool, Add, Gate, Fork, Adapter)}
ARRAYS = ("weights", "bias", "multiplier", "phi", "rho")
SPECS = {"Add": AddSpec, "MeanPool": MeanPoolSpec}


def to_text(graph: StreamGraph) -> tuple[str, dict[str, np.ndarray]]:
    """(JSON, arrays by name); `from_text` takes them back."""
    arrays: dict[str, np.ndarray] = {}
    stages = [_stage_data(stage, arrays) for stage in graph.stages]
    data = {"version": VERSION, "stages": stages, "edges": [dataclasses.asdict(edge) for edge in graph.edges]}
    return json.dumps(data, indent=1) + "\n", arrays


def from_text(text: str, arrays: Mapping[str, np.ndarray]) -> StreamGraph:
    """The graph; CorruptArtifactError if it is of another version, or damaged."""
    try:
        data = json.loads(text)
        if data["version"] != VERSION:
            raise CorruptArtifactError(f"stream graph: version {data['version']!r}, accepted is {VERSION}")
        stages = [_stage(one, arrays) for one in data["stages"]]
        edges = [Edge(**{**one, "shape": tuple(one["shape"])}) for one in data["edges"]]
        return StreamGraph(tuple(stages), tuple(edges))
    except CorruptArtifactError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, EspalierError) as error:
        raise CorruptArtifactError(f"stream graph: damaged ({str(error).splitlines()[0]})") from None


def _stage_data(stage: Stage, arrays: dict[str, np.ndarray]) -> dict:
    data = {"kind_of_stage": type(stage).__name__}
    for field in dataclasses.fields(stage):
        value = getattr(stage, field.name)
        if field.name in ARRAYS:
            if value is not None:
                arrays[f"{stage.name}.{field.name}"] = value
        else:
            data[field.name] = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
    return data


def _stage(data: dict, arrays: Mapping[str, np.ndarray]) -> Stage:
    kind = data["kind_of_stage"]
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    del given["kind_of_stage"]
    given |= {name: ChannelList(**data[name]) for name in LISTS if data.get(name)}
    if kind == "Gate":
        given |= {name: arrays[f"{data['name']}.{name}"] for name in ("phi", "rho")}
        given["arithmetic"] = GateArithmetic(**data["arithmetic"])
    if kind == "Convolution":
        given |= {name: arrays.get(f"{data['name']}.{name}") for name in ("weights", "bias", "multiplier")}
        components = tuple(map(tuple, data["products"]["components"]))
        given["products"] = Products(**{**data["products"], "components": components})
        given["folding"] = Folding(**data["folding"])
        given["arithmetic"] = LayerArithmetic.from_dict(data["arithmetic"])
    elif kind in SPECS:
        roles = tuple(data["arithmetic"]["roles"])
        given["arithmetic"] = SPECS[kind](**{**data["arithmetic"], "roles": roles})
    return KINDS[kind](**given)
