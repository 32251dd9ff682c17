"""Benchmarks of architecture search say of every bar whether it is met, missed or not measured."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("optuna")

import bench_nas_table
import bench_search
import bench_search_board
import bench_search_front
import bench_search_predictions
import show_search_bars
from support import bars
from support.bars import Bar

STEP = str(bench_search.STEPS[-1])


def verdicts(found: list[Bar]) -> list[str]:
    return [one.verdict for one in found]


@pytest.mark.parametrize("one", show_search_bars.BENCHMARKS, ids=lambda one: one.__name__)
def test_what_was_not_measured_is_said_to_be_so(one, monkeypatch, tmp_path):
    assert set(verdicts(one.bars(None))) == {"not measured"}
    monkeypatch.setattr(bars, "FOLDER", tmp_path)
    assert bars.of_record(one.RECORD, one.bars) == one.bars(None)


def test_bars_are_met_or_missed():
    assert verdicts([Bar.least("", 0.95, 0.95), Bar.least("", 0.9, 0.95)]) == ["met", "MISSED"]
    assert verdicts([Bar.most("", 0.7, 0.7), Bar.most("", 0.71, 0.7)]) == ["met", "MISSED"]
    assert bars.shown([Bar.least("a", 1.0, 2.0)]).row_count == 1


def test_a_network_made_by_hand_is_dominated_where_its_best_plans_are():
    def row(network, top1, latency_s, dominated_by=()):
        return {"network": network, "top1": top1, "latency_s": latency_s, "dominated_by": list(dominated_by)}

    rows = [
        row("ResNet-8 float32", 87.0, 2e-4),  # beaten by its other plan, so that it does not count
        row("ResNet-8 uniform<8>", 87.0, 1e-4, ["front 02"]),
        row("ResNet-20 float32", 92.0, 4e-4, ["front 07"]),
        row("ResNet-20 uniform<8>", 91.5, 2e-4),
    ]
    found = bench_search_front.bars({"rows": rows, "spearman_latency": 0.96})
    assert verdicts(found) == ["met", "MISSED", "not measured", "met"]


@pytest.mark.parametrize(
    ("points", "cycles", "expected"),
    [(8, 0.99, ["met", "met"]), (7, 1.0, ["MISSED", "MISSED"]), (9, None, ["met", "MISSED"])],
)
def test_a_board_needs_points_that_fit_and_fewer_cycles(points, cycles, expected):
    assert verdicts(bench_search_board.bars({"points_on_front": points, "cycles_of_hand": cycles})) == expected


def test_accelerators_on_the_front_fit_and_are_beaten_by_none():
    numbers = ((90.0, 300, True), (89.0, 300, True), (88.0, 200, True), (95.0, 100, False), (87.0, 250, True))
    rows = [{"top1": top1, "cycles": cycles, "fits": fits} for top1, cycles, fits in numbers]
    found = [one["on_front"] for one in bench_search_board.with_front(rows)]
    assert found == [True, False, True, False, False]
    assert bench_search_board.with_front([]) == []


def test_predictions_are_judged_over_thirty_networks():
    accuracies = [{"architecture": str(number)} for number in range(30)]
    found = {"accuracy": accuracies, "accuracy_points": 0.5, "accuracy_spearman": 0.8, "latency_spearman": 0.99}
    assert verdicts(bench_search_predictions.bars(found)) == ["met", "met", "MISSED", "met"]
    assert verdicts(bench_search_predictions.bars({**found, "accuracy": accuracies[1:]}))[0] == "MISSED"


def test_searches_are_compared_at_the_last_step_and_cost_is_told():
    def row(way, share):
        return {"target": "llvm", "way": way, "shares": {STEP: share}}

    rows = [row("nsga2", 0.97), row("qlognehvi", 0.95), row("staged", 0.96), row("random", 0.98)]
    rows.append({"target": "llvm", "way": "cost", "ratio": 5.0})
    assert verdicts(bench_search.bars(rows)) == ["met", "MISSED", "met", "not measured", "not measured"]


def test_the_table_is_judged_by_its_best_sampler():
    rows = [{"shares": {"100": 0.93}}, {"shares": {"100": 0.96}}]
    assert verdicts(bench_nas_table.bars(rows)) == ["met"]
