from __future__ import annotations

import dataclasses
import html
import re
from html.parser import HTMLParser

import pytest
from shown_studies import study

from espalier.report.chart import Dot, bars, scatter
from espalier.report.page import page
from espalier.tuning.nas.problem import Value

ALONE = {"meta", "br", "wbr"}


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


def test_points_of_the_front_that_were_not_built_are_shown_as_what_they_are():
    one = study(True)
    one.front = one.front[:1]
    text = page(one, "s")
    assert read(text).seen.count(("circle", "front")) == 2
    assert "3 networks were evaluated; 2 are on the front within accuracy&gt;=50%, 1 of them built." in text
    assert "dominated, or beyond a limit, as the search judged it" in text
    one.facts["limits"], one.points[0] = [], dataclasses.replace(one.points[0], violation=0.1)
    text = page(one, "s")
    assert "1 are on the front, 1 of them built." in text
    assert "beyond" not in text


def test_built_networks_are_compared_and_can_be_rebuilt():
    text = page(study(True), "my study")
    assert "Predicted and measured: top-1 accuracy" in text
    assert "no &lt;latency&gt; here" in text
    assert "espalier run 'my study/front/00' --input images.npz" in html.unescape(text)
    for number in (0, 1):
        assert (
            f"espalier search --space 'my study/front/0{number}/space.txt' --target llvm --objectives accuracy,latency "
            f"--data 'my data' --fine-tune 3 --budget 1trials -o again-0{number}"
        ) in html.unescape(text)


def test_values_are_under_their_names():
    """Also where the first network has fewer than another one."""
    one = study(True)
    latency = {"latency": Value(2e-3, "measured, <here>")}
    one.front[1] = dataclasses.replace(one.front[1], measured=latency | one.front[1].measured)
    (table,) = re.findall(r"<table><tr><th></th>.*?</table>", page(one, "s"))
    head, *rows = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall("<tr>(.*?)</tr>", table)]
    assert head[2:] == ["accuracy", "latency"]
    assert [row[2].partition("<")[0] for row in rows] == ["85 %", "85 %"]
    assert [row[3] for row in rows] == ["", "2 ms<small>measured, &lt;here&gt;</small>"]


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
