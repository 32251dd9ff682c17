"""A finished study, made up, for what shows one."""

from __future__ import annotations

from types import SimpleNamespace

from espalier.tuning.nas.built_front import Built
from espalier.tuning.nas.problem import OBJECTIVES, Value
from espalier.tuning.nas.study import Evaluated

OBJECTIVES_SHOWN = (OBJECTIVES["accuracy"], OBJECTIVES["latency"])
OPTIONS = ("--target", "llvm", "--objectives", "accuracy,latency", "--data", "my data", "--fine-tune", "3")


def evaluated(number: int, accuracy: float, latency: float) -> Evaluated:
    """A point that is as accurate and as slow."""
    values = {"accuracy": Value(accuracy, "supernet"), "latency": Value(latency, "predicted")}
    return Evaluated(number, {"stage1.width": 8 + number, "stage1.weights": "uniform<8>"}, values, 0.0)


def study(is_built: bool, layers: int = 1):
    """Three points, two of them on the front. layers: of each built network."""
    points = [evaluated(0, 0.9, 2e-3), evaluated(1, 0.8, 1e-3), evaluated(2, 0.7, 3e-3)]
    table = [
        {"name": f"stage1.{number}.conv1", "macs": 100 + number, "weights": "uniform<8>", "channels": 8}
        for number in range(layers)
    ]
    measured = {"accuracy": Value(0.85, "compiled, 5000 CIFAR-10 test images that the search has not seen")}
    built = [
        Built(one, "resnet(1x8k3e1s1;1x16k3e1s2;1x32k3e1s2)", measured, tuple(table), f"{n:02d}", "no <latency> here")
        for n, one in enumerate(points[:2])
    ]
    facts = {"space": "resnet-cifar", "target": {"kind": "llvm"}}
    noted = {"facts": facts, "objectives": ["accuracy", "latency"], "limits": ["accuracy>=50%"]}
    front = built if is_built else []
    return SimpleNamespace(facts=noted, objectives=OBJECTIVES_SHOWN, points=points, front=front, options=OPTIONS)
