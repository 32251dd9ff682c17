"""The table of claims, on records made up so that each claim is met, missed or not measured."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import pytest
from gpu import report

GROUPS = ("bodies", "packed dense", "networks", "torch", "torch compiled", "bars", "float16 layers", "gates", "checks")


def times(seconds: float, **more) -> dict:
    return {**more, "median_s": seconds}


def network(name: str, batch: int, density: float, seconds: float) -> dict:
    label = f"{name} {batch} d={density}"
    return times(seconds, name=label, network=name, batch=batch, density=density, weights="float16")


def layer(part: str, name: str, batch: int, density: float, seconds: float) -> dict:
    facts = {"activation_bytes": 400e6, "weight_bytes": 4e6, "macs_s": 1e9 / seconds, "chosen": True}
    return times(seconds, part=part, name=name, batch=batch, density=density, format="float16", **facts)


def launch(**changes) -> dict:
    predicted = {"grid": [4, 1, 1], "resident": 2, "waves": 1, "tail": 0.5}
    measured = {f"measured_{key}": value for key, value in predicted.items()}
    return {"layer": "conv", "variant": "v", **predicted, **measured, **changes}


TRACED, OFF = ({"predicted_s": 1e-6, "measured_s": seconds} for seconds in (1.1e-6, 9e-6))
RECORD = {
    "facts": {
        "device": "a GPU",
        "date": "today",
        "torch": "2",
        "copy_bytes_s": 4e12,
        "launch_s": 1e-6,
        "float16_macs_s": 1e14,
    },
    "planned": {**dict.fromkeys(GROUPS, 1), "waves": 1, "launches": 1},
    "finished": {**dict.fromkeys(GROUPS, 1), "waves": 1, "launches": 1},
    "checks": [{"name": "gate", "ok": True}],
    "networks": [network("net", batch, density, density * 1e-4) for batch in (1, 32) for density in (1, 0.5)],
    "torch": [
        *(times(1e-4, network="net", batch=batch, variant="graph") for batch in (1, 32)),
        *(times(3e-4, network="net", batch=batch, variant="eager") for batch in (1, 32)),
        times(12e-5, name="dense", variant="float16"),
    ],
    "kernels": [
        layer("layers", "3x3 64-64", 32, 1.0, 1e-5),
        *(layer("bars", "3x3 long", 512, *one) for one in ((1.0, 4e-4), (0.5, 12e-5), (0.25, 3e-5))),
        times(4e-5, part="packed", size=16384, bytes_s=3e12),
        times(2e-5, part="staircase", name="3x3 256-64", predicted_s=1e-5),
    ],
    "waves": [{"name": "net", "kernels": [launch()]}],
    "launches": [{"name": "net 1 d=0.5", "kernels_s": 4e-5, "kernels": [*[TRACED] * 9, OFF]}],
    "skipped": [{"step": "one", "error": "no time"}],
    "lost": [],
}  # fmt: skip
"""In which every claim is just met."""
CLAIMS = ("checks", "dense", "batch 1", "batch 32", "bars", "peak", "packed", "waves", "predicted")


def met(change=lambda record: None) -> dict[str, bool | None]:
    record = copy.deepcopy(RECORD)
    change(record)
    return {name: one.met for name, one in zip(CLAIMS, report.verdicts(record), strict=True)}


def test_every_claim_can_be_met():
    assert met() == dict.fromkeys(CLAIMS, True)


def slower(kind: str, number: int, factor: float):
    def change(record: dict) -> None:
        one = record[kind][number]
        one["median_s"] *= factor
        if "macs_s" in one:
            one["macs_s"] /= factor

    return change


def test_every_claim_can_be_missed():
    missed = {
        "checks": lambda record: record["checks"].append({"name": "conv", "ok": False, "error": 0.5}),
        "dense": slower("networks", 0, 1.21),
        "batch 1": slower("networks", 1, 1.01),
        "batch 32": slower("networks", 3, 1.34),
        "bars": slower("kernels", 2, 1.1),  # of 4e-4 / 4
        "peak": slower("kernels", 0, 1.7),
        "packed": slower("kernels", 4, 1.01),
        "waves": lambda record: record["waves"][0]["kernels"].append(launch(measured_resident=1)),
        "predicted": lambda record: record["launches"][0]["kernels"].append(OFF),
    }
    for name, change in missed.items():
        assert met(change) == {**dict.fromkeys(CLAIMS, True), name: False}


def test_a_lost_step_misses_the_claim_that_all_was_checked():
    assert met(lambda record: record["lost"].append({"step": "conv", "error": "hung"}))["checks"] is False


@pytest.mark.parametrize(
    ("group", "claims"),
    [("torch compiled", {"dense", "batch 1", "batch 32"}), ("bars", {"bars"}), ("float16 layers", {"peak"}),
     ("gates", {"checks"}), ("waves", {"waves"}), ("launches", {"predicted"})],
)  # fmt: skip
def test_what_did_not_come_to_its_end_is_not_met(group, claims):
    found = met(lambda record: record["finished"].update({group: 0}))
    assert {name for name, one in found.items() if one is None} == claims


def test_without_torch_nothing_that_needs_it_is_judged():
    def change(record: dict) -> None:
        record["torch"], record["launches"] = [], []
        del record["facts"]["float16_macs_s"]

    found = met(change)
    assert {name for name, one in found.items() if one is None} == {
        "dense",
        "batch 1",
        "batch 32",
        "peak",
        "packed",
        "predicted",
    }


def test_the_bar_is_the_largest_of_compute_traffic_and_launch():
    (bars,) = [one for one in report.verdicts(RECORD) if "their bar" in one.claim]
    assert bars.figures == (
        "3x3 long float16 batch 512, d = 0.5: 120.0 us (dense 400.0 us), 1.20 times the bar of 100.0 us (compute)",
        "3x3 long float16 batch 512, d = 0.25: 30.0 us (dense 400.0 us), 1.20 times the bar of 25.1 us (traffic)",
    )
    short = copy.deepcopy(RECORD)
    short["kernels"][1]["median_s"] = 99e-6
    (bars,) = [one for one in report.verdicts(short) if "their bar" in one.claim]
    assert (bars.met, bars.figures) == (None, ())


def test_the_table_is_printed_where_nothing_is_installed(tmp_path):
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(RECORD))
    command = [sys.executable, "-I", "-S", report.__file__]
    done = subprocess.run([*command, path], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "a GPU, today, torch 2"
    assert sum(line.startswith("         met  ") for line in lines) == len(CLAIMS)
    assert "net 1 d=0.5: 50.0 us, 20% of it is launching, 2.00 times as fast as torch's graph (100.0 us)" in done.stdout
    assert "  3x3 256-64: 20.0 us, predicted 10.0 us" in lines
    assert lines[-2:] == ["1 steps skipped", "  one: no time"]


@pytest.mark.parametrize(
    ("content", "message"), [("no JSON", "Expecting value"), ("{}", "no record of run.sh"), (None, "No such file")]
)
def test_what_is_no_record_is_one_line(content, message, tmp_path):
    path = tmp_path / "gpu.json"
    if content:
        path.write_text(content)
    done = subprocess.run([sys.executable, report.__file__, path], capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith(str(path)) or message in line
    assert message in line
