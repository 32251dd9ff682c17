from __future__ import annotations

import dataclasses
import json

import pytest

from espalier.core.errors import InvalidInputError
from espalier.tuning.nas.tuned_networks import TunedNetwork, TunedNetworks

SMALL = "resnet(1x8k3e1s1;1x16k3e1s2)"
ONE = TunedNetwork(SMALL, ("float32", "float32"), 0.4, 0.7, "2026-01-01T00:00+00:00")
FEW_BITS = dataclasses.replace(ONE, weights=("uniform<4>", "uniform<8>"), accuracy=0.65)
TABLE = TunedNetworks("abc", "3 epochs", "20 images", "a command", (ONE, FEW_BITS))


def test_a_table_is_read_as_it_was_written(tmp_path):
    TABLE.write(tmp_path / "t.json")
    assert TunedNetworks.read(tmp_path / "t.json") == TABLE
    assert TABLE.count == 1
    assert TABLE.with_more([dataclasses.replace(ONE, architecture="resnet(1x8k3e1s1;2x16k3e1s2)")]).count == 2


def test_predictions_depend_on_the_networks_alone():
    assert TABLE.digest == dataclasses.replace(TABLE, command="another").digest
    assert TABLE.digest != dataclasses.replace(TABLE, networks=(ONE,)).digest


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"networks": 3},
        {"networks": [{"architecture": SMALL}]},
        {"networks": [{**dataclasses.asdict(ONE), "accuracy": 70}]},
        {"networks": [{**dataclasses.asdict(ONE), "weights": ["float32"]}]},
        {"networks": [{**dataclasses.asdict(ONE), "weights": ["float32", "float33"]}]},
        {"supernet": 3, "more": 1},
    ],
)
def test_other_tables_are_refused(tmp_path, change):
    TABLE.write(tmp_path / "t.json")
    content = {**json.loads((tmp_path / "t.json").read_text()), **change}
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(InvalidInputError, match=r"t\.json: accepted is what this version's sampling wrote"):
        TunedNetworks.read(tmp_path / "t.json")


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InvalidInputError, match="accepted is what"):
        TunedNetworks.read(tmp_path / "t.json")
