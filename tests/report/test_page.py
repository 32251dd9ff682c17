from __future__ import annotations

import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from espalier.report.chart import Dot, bars, scatter
from espalier.report.page import page
from espalier.tuning.nas.problem import OBJECTIVES, Value
from espalier.tuning.nas.search import Built
from espalier.tuning.nas.study import Evaluated

OBJECTIVES_SHOWN = (OBJECTIVES["accuracy"], OBJECTIVES["latency"])
ALONE = {"meta", "br"}


class Structure(HTMLParser):
    """Every element is closed, and nothing is loaded from elsewhere."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs).get("class")))
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ALONE:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs).get("class")))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def evaluated(number: int, accuracy: float, latency: float) -> Evaluated:
    values = {"accuracy": Value(accuracy, "supernet"), "latency": Value(latency, "predicted")}
    return Evaluated(number, {"stage1.width": 8 + number, "stage1.weights": "uniform<8>"}, values, 0.0)


def study(is_built: bool):
    points = [evaluated(0, 0.9, 2e-3), evaluated(1, 0.8, 1e-3), evaluated(2, 0.7, 3e-3)]
    layers = ({"name": "stem", "macs": 100, "weights": "uniform<8>", "channels": 8},)
    built = [
        Built(one, "resnet(1x8k3e1s1)", {"accuracy": Value(0.85, "compiled")}, layers, f"{n:02d}", "no <latency> here")
        for n, one in enumerate(points[:2])
    ]
    facts = {"space": "resnet-cifar", "target": {"kind": "llvm"}}
    noted = {"facts": facts, "objectives": ["accuracy", "latency"], "limits": ["accuracy>=50%"]}
    return SimpleNamespace(facts=noted, objectives=OBJECTIVES_SHOWN, points=points, front=built if is_built else [])


def read(text: str) -> Structure:
    found = Structure()
    found.feed(text)
    assert found.open == []
    return found


@pytest.mark.parametrize("is_built", [True, False])
def test_the_page_is_whole_and_alone(is_built):
    text = page(study(is_built), "my study")
    found = read(text)
    assert found.links == []
    assert "http" not in text
    assert "<script" not in text
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text
    assert found.seen.count(("circle", "dominated")) == 1
    assert found.seen.count(("circle", "front")) == 2


def test_built_networks_are_compared_and_can_be_rebuilt():
    text = page(study(True), "my study")
    assert "Predicted and measured: top-1 accuracy" in text
    assert "no &lt;latency&gt; here" in text
    assert "espalier run 'my study/front/00' --input images.npz" in text
    assert "--limit 'accuracy&gt;=50%'" in text or "--limit &#x27;accuracy&gt;=50%&#x27;" in text


def test_an_empty_study_has_a_page():
    empty = study(False)
    empty.points = []
    assert "0 networks were evaluated" in page(empty, "s")


def test_wide_content_scrolls_in_its_own_box():
    """On a phone the page keeps its width: tables are in boxes that scroll, plots shrink, words break."""
    text = page(study(True), "s")
    assert text.count("<table>") == text.count('<div class="scroll"><table>')
    assert re.search(r"svg \{ width: 100%", text)
    assert "overflow-wrap: anywhere" in text


def test_dots_are_inside_the_plot_and_equal_ones_too():
    for dots in ([Dot(1.0, 2.0, "front", "a")], [Dot(0.0, -5.0, "front", "<a>"), Dot(1e-3, 9e6, "built", "b")]):
        text = scatter(dots, "x", "y", diagonal=True)
        places = [(float(x), float(y)) for x, y in re.findall(r'cx="([-\d.]+)" cy="([-\d.]+)"', text)]
        assert len(places) == len(dots)
        assert all(64 <= x <= 624 and 16 <= y <= 312 for x, y in places)
        assert "<a>" not in text


def test_bars_are_shares():
    assert "--share:0.250" in bars([("stem", 0.25, "1 M")])
