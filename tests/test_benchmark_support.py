"""What the benchmarks rely on: data that is found, records that give nothing away."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from bench_kernels import speeds
from support import REPOSITORY, cifar10, kernels, layers, networks, probes, records

import espalier
from espalier.build import prepare
from espalier.codegen.cpu.kernels.peak import STEPS, peak_flops_done
from espalier.codegen.cpu.select import candidates
from espalier.core.layers import ActiveList
from espalier.targets.cpu import isa_of
from espalier.targets.resolve import resolve_target


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder that the benchmarks will look into."""
    monkeypatch.setenv("ESPALIER_DATA", str(tmp_path))
    return tmp_path


def test_missing_data_names_what_is_accepted(data):
    with pytest.raises(espalier.InvalidInputError, match="none of cifar-10-batches-py/, .* set ESPALIER_DATA"):
        cifar10.load_test()


def test_a_record_can_be_repeated(tmp_path, monkeypatch):
    script = REPOSITORY / "benchmarks" / "bench_density.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--model", str(tmp_path / "model.onnx"), "--rounds", "3"])
    path = records.write_record("density", {"speed_up": 3.9}, tmp_path)
    record = json.loads(path.read_text())
    assert record["command"] == "python benchmarks/bench_density.py --model model.onnx --rounds 3"
    assert record["results"] == {"speed_up": 3.9}
    assert record["versions"]["apache-tvm"] == "0.27.0.post1"
    assert record["machine"]["logical_cores"] >= 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["density.json"]


def test_rows_of_a_record_are_replaced_by_key(tmp_path):
    first = [{"network": "a", "threads": 1, "ms": 3}, {"network": "b", "threads": 1, "ms": 4}]
    assert records.merged_rows("models", first, ("network", "threads"), tmp_path) == first
    records.write_record("models", first, tmp_path)
    again = [{"network": "a", "threads": 1, "ms": 2}, {"network": "a", "threads": 2, "ms": 1}]
    merged = records.merged_rows("models", again, ("network", "threads"), tmp_path)
    assert [(row["network"], row["threads"], row["ms"]) for row in merged] == [("a", 1, 2), ("b", 1, 4), ("a", 2, 1)]


def test_a_record_holds_no_path(tmp_path):
    with pytest.raises(ValueError, match="has no meaning elsewhere"):
        records.write_record("density", {"model": str(REPOSITORY / "model.onnx")}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_resnet18_depends_on_its_seed_only():
    torch = pytest.importorskip("torch")
    before = torch.random.get_rng_state()
    one, same, other = (networks.resnet18(seed).conv1.weight for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("depth", "parameters"), [(20, 269_722), (56, 853_018)])
def test_cifar_resnets_have_their_size(depth, parameters):
    assert sum(p.numel() for p in networks.CifarResNet(depth).parameters()) == parameters


@pytest.fixture(scope="module")
def mcifarnet():
    return prepare(layers.imported("M-CifarNet"))


def test_distinct_layers_count_their_uses(mcifarnet):
    found = layers.distinct_layers({"once": mcifarnet, "again": mcifarnet})
    assert [(layer.name, layer.kind, layer.uses["once"]) for layer in found] == [
        ("3-64 32x32 3x3/1 relu", "first", 1),
        ("64-64 30x30 3x3/1 relu", "3x3", 1),
        ("64-128 30x30 3x3/2 relu", "strided", 1),
        ("128-128 15x15 3x3/1 relu", "3x3", 2),
        ("128-192 15x15 3x3/2 relu", "strided", 1),
        ("192-192 8x8 3x3/1 relu", "3x3", 2),
    ]
    assert all(layer.uses["once"] == layer.uses["again"] for layer in found)


def test_the_work_of_a_network_is_that_of_its_layers(mcifarnet):
    problems = [problem for problem, _ in layers.convolutions(mcifarnet)]
    convolutions = [layers.layer_work(p.x_shape, p.weight_shape, p.out_shape) for p in problems]
    dense = layers.layer_work((1, 192), (10, 192), (1, 10))
    assert dense == layers.Work(1920, 4 * (192 + 1920 + 10))
    assert layers.work_of(mcifarnet) == sum(convolutions, dense)
    assert sum(work.macs for work in convolutions) == sum(p.macs for p in problems)


def test_a_problem_at_half_density():
    one = kernels.problem(64, 128, 14, 3, 2)
    gated, first = kernels.at_density(one, 0.5), kernels.at_density(one, 0.5, x_is_gated=False)
    assert one.out_shape == (1, 128, 7, 7)
    assert (gated.spec.winners, gated.spec.active) == (ActiveList(4, 16), ActiveList(2, 16))
    assert (4 * gated.macs, 2 * first.macs) == (one.macs, one.macs)
    assert "active" not in first.spec.roles


def test_a_depthwise_problem_at_a_density_has_winners_only():
    torch = pytest.importorskip("torch")
    module = torch.nn.Conv2d(32, 32, 3, padding=1, groups=32)
    mod = prepare(espalier.from_torch(module.eval(), np.zeros((1, 32, 8, 8), "float32")))
    ((one, is_first),) = layers.convolutions(mod)
    gated = kernels.at_density(one, 0.5)
    assert is_first
    assert layers.Layer(one, False, {}).kind == "depthwise"
    assert gated.spec.roles == (*one.spec.roles, "winners")
    assert gated.spec.gate == "listed"
    assert 2 * gated.macs == one.macs


def test_a_gated_kernel_runs_on_changing_lists():
    target = resolve_target("llvm")
    gated = kernels.at_density(kernels.problem(16, 32, 6, 3, 1), 0.5)
    call = kernels.runner(gated, candidates(gated, isa_of(target))[0], target)
    for _ in range(kernels.DRAWS + 1):
        call()
    lists = [kernels.draw(gated, "winners", np.random.default_rng(seed)).numpy() for seed in range(8)]
    assert all((np.diff(one) > 0).all() and one.min() >= 0 and one.max() < 4 for one in lists)
    assert len({one.tobytes() for one in lists}) > 1


def test_a_kernel_of_bytes_runs_on_sums_that_fit_16_bits():
    target = resolve_target("llvm")
    isa = isa_of(target)
    for one in (kernels.problem(16, 32, 6, 3, 1), kernels.at_density(kernels.problem(16, 32, 6, 3, 1), 0.5)):
        quantized = kernels.in_int8(one, isa)
        assert quantized.rounding == ("narrow" if isa.name == "avx512" else quantized.rounding)
        kernels.runner(quantized, candidates(quantized, isa)[0], target)()


def test_probes_do_the_work_that_they_claim():
    target = resolve_target("llvm")
    isa = isa_of(target)
    copy, peak = probes.copy_probe(isa, target, 4 << 12, 1 << 12), probes.peak_probe(isa, target)
    assert copy.work == 5 << 12
    assert peak.work == peak_flops_done(isa, 1) == 2 * STEPS * (isa.registers - 8) * isa.lanes
    products = probes.peak_probe_int8(isa, target)
    assert products.work == 4 * peak.work
    reading = probes.read_probe(isa, target, 1 << 14)
    assert reading.work == 1 << 14
    for probe in (copy, peak, products, reading):
        probe.run()


def test_winograd_is_reported_beside_the_best_direct_family():
    found = speeds({"winograd": 1.0, "blocked": 2.0, "planar": 4.0}, macs=10, peak=10.0)
    assert (found["family"], found["share"]) == ("winograd", 2)
    assert (found["best_direct"], found["direct_share"]) == ("blocked", 1)
    assert speeds({"planar": 4.0, "blocked": 2.0}, macs=10, peak=10.0)["of_best"] == 0.5


def test_the_roofline_depends_on_its_records_only(tmp_path):
    pytest.importorskip("matplotlib")
    import plot_roofline

    roofs = {"L3_bytes_per_s": 1e11, "peak_flops": 2.5e11}
    dense = {"share": 2.5, "family": "winograd", "direct_share": 0.9}
    layer = {"class": "3x3", "macs": 10**7, "bytes": 10**6, "dense": dense}
    networks = {"one": {"macs": 10**8, "bytes": 10**7}, "two": {"macs": 10**8, "bytes": 10**7}}
    models = [
        {"network": name, "threads": 1, "best_peer": "openvino", "latency_s": {"espalier": 1e-3, "openvino": 2e-3}}
        for name in networks
    ]
    for name in ("a.svg", "b.svg"):
        plot_roofline.save({"roofs": roofs, "layers": [layer], "networks": networks}, models, tmp_path / name)
    first, second = ((tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second
    assert b"<dc:date>" not in first


def test_the_plot_of_searches_depends_on_its_records_only(tmp_path):
    pytest.importorskip("matplotlib")
    import plot_search

    shares, deviations = {"10": 0.5, "20": 0.9}, {"10": 0.1, "20": 0.05}
    samplers = [
        {"target": target, "way": way, "shares": shares, "deviations": deviations}
        for target in plot_search.TARGETS
        for way in plot_search.WAYS
    ]
    built = [{"network": "front 00", "top1": 90.0, "latency_s": 1e-4}]
    built.append({"network": "ResNet-8 float32", "top1": 87.0, "latency_s": 2e-4, "dominated_by": ["front 00"]})
    board = {"rows": [{"cycles": 9000, "top1": 84.0, "fits": True}], "hand": {"cycles": 18000, "top1": 87.0}}
    for name, of in (("a.svg", samplers), ("b.svg", samplers), ("cpu.svg", samplers[: len(plot_search.WAYS)])):
        plot_search.save([*of, {"target": "llvm", "way": "cost"}], built, board, tmp_path / name)
    first, second, cpu = ((tmp_path / name).read_bytes() for name in ("a.svg", "b.svg", "cpu.svg"))
    assert first == second
    assert (first.count(b'id="axes_'), cpu.count(b'id="axes_')) == (4, 3)
    assert b"<dc:date>" not in first
