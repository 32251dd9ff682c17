"""Plots as SVG text, drawn by hand so that a page needs no script and stays small."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 360, 96, 56, 16, 16
"""The margins have room for texts as large as a phone needs them."""

TICKS = 5


@dataclass(frozen=True)
class Dot:
    """A point of a plot. kind: its CSS class; text: shown when it is pointed at."""

    x: float
    y: float
    kind: str
    text: str


def scatter(dots: Sequence[Dot], x_label: str, y_label: str, diagonal: bool = False) -> str:
    """A plot of at least one dot; later ones are drawn over earlier ones. diagonal: the line x = y besides."""
    spans = [_span([dot.x for dot in dots]), _span([dot.y for dot in dots])]
    if diagonal:
        both = (min(span[0] for span in spans), max(span[1] for span in spans))
        spans = [both, both]

    def place(x: float, y: float) -> tuple[float, float]:
        (x0, x1), (y0, y1) = spans
        across = LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - BOTTOM - TOP)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_text(y_label)} over {_text(x_label)}">']
    for value in _ticks(*spans[0]):
        x, _ = place(value, spans[1][0])
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 22}" text-anchor="middle">{value:g}</text>')
    for value in _ticks(*spans[1]):
        _, y = place(spans[0][0], value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    if diagonal:
        (x1, y1), (x2, y2) = place(spans[0][0], spans[0][0]), place(spans[0][1], spans[0][1])
        parts.append(f'<line class="diagonal" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
    for dot in dots:
        x, y = place(dot.x, dot.y)
        parts.append(
            f'<circle class="{dot.kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{_text(dot.text)}</title></circle>'
        )
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{_text(x_label)}</text>')
    middle = (HEIGHT - BOTTOM) / 2
    label = (
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{_text(y_label)}</text>'
    )
    return "\n".join([*parts, label, "</svg>"])


def bars(rows: Sequence[tuple[str, float, str]]) -> str:
    """A bar for each (name, share of the longest 0 to 1, text)."""
    lines = [
        f'<div class="bar"><span>{_text(name)}</span><i style="--share:{share:.3f}"></i><b>{_text(text)}</b></div>'
        for name, share, text in rows
    ]
    return "\n".join(lines)


def _text(value: str) -> str:
    return html.escape(value)


def _span(values: Sequence[float]) -> tuple[float, float]:
    """A little more than the values' range."""
    low, high = min(values), max(values)
    margin = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between the two."""
    step = (high - low) / TICKS
    size = 10 ** math.floor(math.log10(step))
    step = next(size * one for one in (1, 2, 5, 10) if size * one >= step)
    return [round(n * step, 12) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
