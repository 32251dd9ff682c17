from __future__ import annotations

import pytest

from espalier.core.errors import InvalidInputError
from espalier.tuning.latency_predictor import NetworkSample
from espalier.tuning.nas.latency_samples import LatencySamples
from espalier.tuning.network_work import AMOUNTS, NetworkWork


def sample(seconds: float) -> NetworkSample:
    return NetworkSample(NetworkWork((), dict.fromkeys(AMOUNTS, 1.0)), seconds, ())


def test_what_one_worker_measures_others_and_later_calls_know(tmp_path):
    one, other = LatencySamples(tmp_path), LatencySamples(tmp_path)
    one.add(sample(1.0))
    other.add(sample(2.0))
    for samples in (one, other, LatencySamples(tmp_path)):
        assert sorted(found.seconds for found in samples.all()) == [1.0, 2.0]
    assert LatencySamples(tmp_path).all()[0].work == sample(1.0).work


def test_without_a_folder_they_are_in_memory():
    samples = LatencySamples()
    samples.add(sample(1.0))
    assert samples.all() == [sample(1.0)]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"work": {}, "seconds": 1, "kernel_seconds": []}'])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "one.json").write_bytes(content)
    with pytest.raises(InvalidInputError, match="one.json"):
        LatencySamples(tmp_path).all()
