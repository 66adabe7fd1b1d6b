# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from pwm_core.report.charts import (
    Band,
    Bar,
    Line,
    Panel,
    Scale,
    bar_chart,
    line_chart,
    round_step,
    trace_chart,
)


@pytest.mark.parametrize(("step", "rounded"), [(0.9, 1), (1.0, 1), (3, 5), (7, 10), (0.02, 0.02)])
def test_round_step(step: float, rounded: float) -> None:
    assert round_step(step) == pytest.approx(rounded)


def test_linear_scale() -> None:
    scale = Scale(0, 100, 50, 250)
    assert scale(50) == 150
    assert scale.ticks() == [0, 20, 40, 60, 80, 100]


def test_logarithmic_scale() -> None:
    scale = Scale(0.01, 1, 200, 0, log=True)
    assert scale(0.1) == pytest.approx(100)
    assert scale.ticks() == pytest.approx([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1])


def points_of(svg: str) -> list[list[tuple[float, float]]]:
    root = ElementTree.fromstring(svg)
    return [
        [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
        for line in root.iter("polyline")
    ]


def test_line_chart_leaves_out_what_cannot_be_drawn() -> None:
    curve = Line("a", [(0, 0.1), (1, math.nan), (2, 0.0), (3, 0.2)], 0)
    empty = Line("b", [(0, math.inf)], 1)
    drawn = points_of(line_chart([curve, empty], "x", "<y>", log=True, limit=(0.06, "limit")))
    assert [len(line) for line in drawn] == [2]
    assert drawn[0][0][1] > drawn[0][1][1], "0.2 is above 0.1"
    assert line_chart([empty], "x", "y") == ""


def test_bar_chart_draws_values_and_intervals() -> None:
    bars = [Bar("a & b", 10.0, (8.0, 12.0), (7.0, 13.0)), Bar("c", 20.0, strong=True)]
    root = ElementTree.fromstring(bar_chart(bars, "return"))
    widths = [float(rectangle.get("width")) for rectangle in root.iter("rect")]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)
    assert "a & b" in "".join(root.itertext())
    assert len(list(root.iter("circle"))) == 2


def test_trace_has_no_line_across_a_reset() -> None:
    time = [0.0, 1.0, 2.0, 3.0]
    panels = [Panel("joint", [0.0, 1.0, 9.0, 9.0])]
    svg = trace_chart(time, panels, [Band("p", 0.0, 3.0, 0)], [1.0], [2.0])
    assert [len(line) for line in points_of(svg)] == [2, 2]


def test_constant_values_can_be_drawn() -> None:
    assert points_of(line_chart([Line("a", [(0, 5.0), (1, 5.0)], 0)], "x", "y"))
    assert points_of(line_chart([Line("a", [(0, 0.0)], 0)], "x", "y"))
