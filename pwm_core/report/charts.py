# SPDX-License-Identifier: Apache-2.0
"""Charts as inline SVG. Colours are classes of ``report.css``: they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise

SERIES = 6
"""Series colours that ``report.css`` has (classes s0 … s5)."""
Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A curve of a line chart."""

    label: str
    points: Sequence[Point]
    colour: int
    dashed: bool = False
    band: Sequence[tuple[float, float, float]] = ()
    """``(x, low, high)``: the interval around the curve."""


@dataclass(frozen=True)
class Bar:
    """A bar from zero to ``value`` with an optional interval and single results as dots."""

    label: str
    value: float
    interval: tuple[float, float] | None = None
    dots: Sequence[float] = ()
    strong: bool = False


@dataclass(frozen=True)
class Comparison:
    """A row of a comparison: a bar, and what it is held against as marks."""

    label: str
    value: float
    interval: tuple[float, float] | None
    marks: Sequence[tuple[float, int]]
    """``(value, colour)``"""


@dataclass(frozen=True)
class Panel:
    """One quantity over time."""

    label: str
    values: Sequence[float]


@dataclass(frozen=True)
class Band:
    """A stretch of time in the colour of what was active."""

    label: str
    begin: float
    end: float
    colour: int


@dataclass(frozen=True)
class Scale:
    """Maps values to pixels, linear or logarithmic, with ticks at round numbers."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Return round values within the scale."""
        if self.log:
            return self._log_ticks()
        step = round_step((self.high - self.low) / count)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]

    def _log_ticks(self) -> list[float]:
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        factors = (1,) if self.high / self.low > 1e4 else (1, 2, 5)
        ticks = [factor * 10.0**e for e in exponents for factor in factors]
        return [t for t in ticks if self.low * 0.999 <= t <= self.high * 1.001]


def round_step(step: float) -> float:
    """Return the smallest of 1, 2, 5 × 10ⁿ that is not below ``step``."""
    power = 10 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * 0.999)


def covering(values: Sequence[float], start: float, stop: float, log: bool = False) -> Scale:
    """Return a scale over ``values`` with some room at both ends."""
    low, high = min(values), max(values)
    if log:
        return Scale(low / 1.25, high * 1.25, start, stop, True)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return Scale(low - room, high + room, start, stop)


def plain_number(value: float) -> str:
    """Return ``value`` with up to four digits and no trailing zeros."""
    return f"{value:.4g}"


def percent(value: float) -> str:
    """Return a share as a percentage with up to three digits."""
    return f"{value * 100:.3g} %"


def _path(points: Sequence[Point], x: Scale, y: Scale, css: str) -> str:
    steps = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
    return f'<polyline class="{css}" points="{steps}"/>'


def _text(x: float, y: float, text: str, css: str, anchor: str = "middle") -> str:
    return (
        f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _rule(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _svg(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def line_chart(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    log: bool = False,
    limit: tuple[float, str] | None = None,
    number: Callable[[float], str] = plain_number,
) -> str:
    """Return curves over one axis; ``limit`` is a dashed horizontal line with its name.

    Values that cannot be drawn are left out; empty if there is none that can.
    """
    width, height, left, right, top, bottom = 440, 270, 56, 418, 26, 228
    lines = [line for line in (_drawable(line, log) for line in lines) if line.points]
    if not lines:
        return ""
    points = [point for line in lines for point in line.points]
    x = covering_tightly([a for a, _ in points], left, right)
    y = covering([b for _, b in points] + ([limit[0]] if limit else []), bottom, top, log)
    parts = [_text(left - 44, 14, y_label, "label", "start")]
    for tick in y.ticks():
        parts.append(_rule(left, y(tick), right, y(tick), "grid"))
        parts.append(_text(left - 6, y(tick) + 4, number(tick), "tick", "end"))
    for tick in x.ticks():
        parts.append(_text(x(tick), bottom + 17, plain_number(tick), "tick"))
    parts.append(_text((left + right) / 2, height - 6, x_label, "label"))
    parts += [_area(line.band, x, y, line.colour) for line in lines if line.band]
    for line in lines:
        css = f"line s{line.colour % SERIES}" + (" dashed" if line.dashed else "")
        parts.append(_path(line.points, x, y, css))
        parts.append(_dot(x(line.points[-1][0]), y(line.points[-1][1]), line.colour, 3.2))
    if limit:
        parts.append(_rule(left, y(limit[0]), right, y(limit[0]), "limit"))
        parts.append(_text(right, y(limit[0]) - 5, limit[1], "tick limit-text", "end"))
    return _svg(width, height, f"{y_label} over {x_label}", parts)


def _drawable(line: Line, log: bool) -> Line:
    points = [(a, b) for a, b in line.points if math.isfinite(b) and (b > 0 or not log)]
    return replace(line, points=points)


def _area(band: Sequence[tuple[float, float, float]], x: Scale, y: Scale, colour: int) -> str:
    edge = [(a, high) for a, _, high in band] + [(a, low) for a, low, _ in reversed(band)]
    corners = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in edge)
    return f'<polygon class="band s{colour % SERIES}" points="{corners}"/>'


def covering_tightly(values: Sequence[float], start: float, stop: float) -> Scale:
    """Return a scale over exactly ``values``."""
    low, high = min(values), max(values)
    return Scale(low, high if high > low else low + 1, start, stop)


def _dot(x: float, y: float, colour: int, radius: float) -> str:
    return f'<circle class="dot s{colour % SERIES}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'


def bar_chart(
    bars: Sequence[Bar], x_label: str, number: Callable[[float], str] = plain_number
) -> str:
    """Return horizontal bars with whiskers and dots, each with its value."""
    width, left, right, row = 440, 172, 376, 31
    height = row * len(bars) + 44
    ends = [0.0, *(v for bar in bars for v in (bar.value, *(bar.interval or ()), *bar.dots))]
    x = Scale(min(ends), max(ends) * 1.02 or 1.0, left, right)
    parts = []
    for tick in x.ticks(4):
        parts.append(_rule(x(tick), 4, x(tick), height - 38, "grid"))
        parts.append(_text(x(tick), height - 22, plain_number(tick), "tick"))
    parts.append(_text((left + right) / 2, height - 5, x_label, "label"))
    for index, bar in enumerate(bars):
        parts += _bar(bar, x, 4 + row * (index + 0.5), number(bar.value))
    return _svg(width, height, x_label, parts)


def _bar(bar: Bar, x: Scale, middle: float, value: str, at: float | None = None) -> list[str]:
    """Return a bar; its value is written behind it, or at pixel ``at``."""
    css = "bar strong" if bar.strong else "bar"
    zero, end = x(0.0), x(bar.value)
    parts = [
        _text(x.start - 8, middle + 4, bar.label, "name strong" if bar.strong else "name", "end"),
        f'<rect class="{css}" x="{min(zero, end):.1f}" y="{middle - 9:.1f}" '
        f'width="{max(abs(end - zero), 1):.1f}" height="18" rx="2"/>',
    ]
    parts += [
        f'<circle class="single" cx="{x(dot):.1f}" cy="{middle:.1f}" r="2.2"/>' for dot in bar.dots
    ]
    if bar.interval:
        low, high = (x(bound) for bound in bar.interval)
        parts.append(_rule(low, middle, high, middle, "whisker"))
        parts += [_rule(at, middle - 5, at, middle + 5, "whisker") for at in (low, high)]
    place = max(end, *(x(v) for v in (*(bar.interval or ()), *bar.dots)), end)
    written = place + 7 if at is None else at
    parts.append(_text(written, middle + 4, value, "value", "start"))
    return parts


def comparison_chart(
    rows: Sequence[Comparison], x_label: str, number: Callable[[float], str] = plain_number
) -> str:
    """Return a wide chart: a bar with whisker per row, marks for what it is held against."""
    width, left, right, each = 880, 200, 816, 24
    bottom = 6 + each * len(rows)
    ends = [0.0, *(v for r in rows for v in (r.value, *(r.interval or ()), *_values(r.marks)))]
    x = Scale(min(ends), max(ends) * 1.02 or 1.0, left, right)
    parts = []
    for tick in x.ticks(6):
        parts.append(_rule(x(tick), 4, x(tick), bottom, "grid"))
        parts.append(_text(x(tick), bottom + 16, plain_number(tick), "tick"))
    parts.append(_text((left + right) / 2, bottom + 34, x_label, "label"))
    for index, row in enumerate(rows):
        middle = 6 + each * (index + 0.5)
        bar = Bar(row.label, row.value, row.interval, strong=True)
        parts += _bar(bar, x, middle, number(row.value), at=right + 4)
        for value, colour in row.marks:
            parts.append(_diamond(x(value), middle, colour))
    return _svg(width, bottom + 40, x_label, parts)


def _values(marks: Sequence[tuple[float, int]]) -> list[float]:
    return [value for value, _ in marks]


def _diamond(x: float, y: float, colour: int) -> str:
    corners = f"{x:.1f},{y - 6:.1f} {x + 5:.1f},{y:.1f} {x:.1f},{y + 6:.1f} {x - 5:.1f},{y:.1f}"
    return f'<polygon class="mark s{colour % SERIES}" points="{corners}"/>'


def trace_chart(
    time: Sequence[float],
    panels: Sequence[Panel],
    bands: Sequence[Band],
    swaps: Sequence[float],
    resets: Sequence[float],
) -> str:
    """Return quantities over time in panels, what was active behind them; swaps, resets marked."""
    width, left, right, each, gap, head = 880, 52, 868, 104, 26, 30
    bottom = head + len(panels) * (each + gap)
    x = covering_tightly(time, left, right)
    parts = [_band(band, x, head - 8, bottom - gap + 4) for band in bands]
    for index, panel in enumerate(panels):
        top = head + index * (each + gap)
        y = covering(panel.values, top + each, top + 14)
        parts.append(_text(left, top + 8, panel.label, "label", "start"))
        for tick in y.ticks(3):
            parts.append(_rule(left, y(tick), right, y(tick), "grid"))
            parts.append(_text(left - 6, y(tick) + 4, plain_number(tick), "tick", "end"))
        points = list(zip(time, panel.values, strict=True))
        parts += [_path(piece, x, y, "line ink") for piece in _split(points, resets)]
    parts += [_rule(x(at), head - 8, x(at), bottom - gap + 4, "reset") for at in resets]
    parts += [_rule(x(at), head - 22, x(at), bottom - gap + 4, "swap") for at in swaps]
    for tick in x.ticks(10):
        parts.append(_text(x(tick), bottom - gap + 20, plain_number(tick), "tick"))
    parts.append(_text((left + right) / 2, bottom + 12, "simulated time (s)", "label"))
    return _svg(width, bottom + 18, "positions over time", parts)


def _split(points: Sequence[Point], at: Sequence[float]) -> list[Sequence[Point]]:
    """Return ``points`` in pieces, a new one from each time in ``at``: no line across a jump."""
    edges = [-math.inf, *at, math.inf]
    return [[p for p in points if low <= p[0] < high] for low, high in pairwise(edges)]


def _band(band: Band, x: Scale, top: float, bottom: float) -> str:
    begin, end = x(band.begin), x(band.end)
    name = _text(begin + 5, top - 4, band.label, "name", "start") if end - begin > 50 else ""
    return (
        f'<rect class="band s{band.colour % SERIES}" x="{begin:.1f}" y="{top:.1f}" '
        f'width="{max(end - begin, 0.5):.1f}" height="{bottom - top:.1f}"/>{name}'
    )
