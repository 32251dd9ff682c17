"""A search's study as one HTML page that needs nothing else: no script, no font, no file beside it."""

from __future__ import annotations

import html
import shlex
import string
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from ..tuning.nas.problem import OBJECTIVES
from ..tuning.nas.study import front_of
from .chart import Dot, bars, scatter

TEMPLATE = Path(__file__).with_name("templates") / "page.html"


class Shown(Protocol):
    """What of a `tuning.nas.finished.Finished` is read here."""

    facts: Mapping
    objectives: tuple
    points: list
    front: list
    options: tuple


def page(study: Shown, name: str) -> str:
    """The page. name: the study's folder, for the commands."""
    facts = study.facts["facts"]
    target = facts.get("target", {})
    title = f"Search of {facts.get('space', 'a space')} for {target.get('device', target.get('kind', 'a target'))}"
    body = "\n".join(_sections(study, name, title))
    return string.Template(TEMPLATE.read_text()).substitute(title=_text(title), body=body)


def _sections(study: Shown, name: str, title: str) -> Iterator[str]:
    yield f"<h1>{_text(title)}</h1>"
    best, limits = _best(study), _text(", ".join(study.facts.get("limits", ())))
    within = f" within {limits}" if limits else ""
    built = f", {len(study.front)} of them built" if study.front else "; none is built yet"
    yield f"<p>{len(study.points)} networks were evaluated; {len(best)} are on the front{within}{built}.</p>"
    if not study.points:
        return
    yield _front_plot(study, best)
    if study.front:
        yield from _built_sections(study, name)
    yield "<h2>What the front has in common</h2>"
    yield _common(best)


def _best(study: Shown) -> list:
    """The points of the front, and what was built where no point is within the limits."""
    found = [one for one in front_of(study, study.points) if one.violation == 0]
    return found or [one.point for one in study.front]


def _front_plot(study: Shown, best: list) -> str:
    y, x = study.objectives[0], study.objectives[-1]
    on_front = {one.text for one in best}
    dots = [_dot(one.values, x, y, "dominated", _named(one)) for one in study.points if one.text not in on_front]
    dots += [_dot(one.values, x, y, "front", _named(one)) for one in best]
    measured = [one for one in study.front if {x.name, y.name} <= set(one.measured)]
    dots += [_dot(one.measured, x, y, "built", one.architecture) for one in measured]
    beyond = ", or beyond a limit" if study.facts.get("limits") else ""
    keys = {"dominated": f"dominated{beyond}, as the search judged it", "front": "front, as the search judged it"}
    keys |= {"built": "front, built and measured"} if measured else {}
    shown = " ".join(f'<span class="key {kind}"><span>{text}</span></span>' for kind, text in keys.items())
    plot = scatter(dots, _axis(x), _axis(y))
    return f"<h2>The front</h2><figure>{plot}<figcaption>{shown}</figcaption></figure>"


def _built_sections(study: Shown, name: str) -> Iterator[str]:
    yield "<h2>Built networks</h2>"
    yield _table(study)
    for objective in study.objectives:
        pairs = [one for one in study.front if objective.name in one.measured]
        if pairs:
            yield f"<h2>Predicted and measured: {_text(objective.label)}</h2>"
            yield _compared(pairs, objective)
    yield "<h2>Layer by layer</h2>"
    yield from (_layers(one) for one in study.front)
    yield "<h2>Rebuild a network</h2>"
    yield "<p>Each folder has the artifact, plan.json and the space of this one network. Run an artifact:</p>"
    yield f"<pre>{_text(shlex.join(['espalier', 'run', _place(study.front[0], name), '--input', 'images.npz']))}</pre>"
    yield "<p>Build, train and measure a network again as it was:</p>"
    yield from (f"<pre>{_text(_again(study, one, name))}</pre>" for one in study.front)


def _place(one, name: str) -> str:
    """The folder of a built network."""
    return f"{name.rstrip('/')}/front/{one.folder}"


def _again(study: Shown, one, name: str) -> str:
    """The command that makes a built network again, in a study of its own."""
    space = f"{_place(one, name)}/space.txt"
    words = ["espalier", "search", "--space", space, *study.options, "--budget", "1trials", "-o", f"again-{one.folder}"]
    return shlex.join(words)


def _table(study: Shown) -> str:
    names = list(dict.fromkeys(name for one in study.front for name in one.measured))
    head = "".join(f"<th>{_text(one)}</th>" for one in ("", "network", *names))
    rows = []
    for one in study.front:
        network = _text(one.architecture).replace(";", ";<wbr>")
        cells = [_text(one.folder), network + (f"<small>{_text(one.remark)}</small>" if one.remark else "")]
        values = [_value(OBJECTIVES[name], one.measured.get(name)) for name in names]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "".join(values) + "</tr>")
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _value(objective, value) -> str:
    if value is None:
        return "<td></td>"
    return f"<td>{_text(objective.shown(value.number))}<small>{_text(value.how)}</small></td>"


def _compared(pairs: list, objective) -> str:
    dots = [
        Dot(
            one.point.values[objective.name].number * objective.scale,
            one.measured[objective.name].number * objective.scale,
            "built",
            one.architecture,
        )
        for one in pairs
    ]
    unit = f", {objective.unit}" if objective.unit else ""
    return f"<figure>{scatter(dots, f'in the search{unit}', f'built{unit}', diagonal=True)}</figure>"


def _layers(one) -> str:
    most = max(layer["macs"] for layer in one.layers) or 1
    rows = [
        (layer["name"], layer["macs"] / most, f"{layer['macs'] / 1e6:.2f} M, {layer['weights']}")
        for layer in one.layers
    ]
    return f"<details><summary>{_text(one.folder)}: {_text(one.architecture)}</summary>{bars(rows)}</details>"


def _common(best: list) -> str:
    """How often each value of each dimension is on the front."""
    rows = []
    for name in dict.fromkeys(name for one in best for name in one.point):
        counts = Counter(str(one.point[name]) for one in best if name in one.point).most_common()
        shown = ", ".join(f"{value} ({count})" for value, count in counts)
        rows.append(f"<tr><td>{_text(name)}</td><td>{_text(shown)}</td></tr>")
    return f'<div class="scroll"><table><tr><th>choice</th><th>value (networks)</th></tr>{"".join(rows)}</table></div>'


def _named(one) -> str:
    """An evaluated network, with the number by which `espalier search --also` takes it."""
    return f"network {one.number}, {one.text}"


def _dot(values: Mapping, x, y, kind: str, text: str) -> Dot:
    a, b = values[x.name], values[y.name]
    shown = f"{y.shown(b.number)} ({b.how}), {x.shown(a.number)} ({a.how}): {text}"
    return Dot(a.number * x.scale, b.number * y.scale, kind, shown)


def _axis(objective) -> str:
    return f"{objective.label}, {objective.unit}" if objective.unit else objective.label


def _text(value: str) -> str:
    return html.escape(str(value))
