# SPDX-License-Identifier: Apache-2.0
"""Many tasks at a glance: one row per task, interquartile means, performance profiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pwm_core.evaluation.aggregate import aggregate, performance_profile
from pwm_core.evaluation.score import EXTRACTED
from pwm_core.evaluation.summary import AUTHORS, Summary, score_matrix
from pwm_core.report.charts import (
    Bar,
    Comparison,
    Line,
    bar_chart,
    comparison_chart,
    line_chart,
)
from pwm_core.report.markup import figure, grid

COLOURS = {
    EXTRACTED: 0,
    AUTHORS: 1,
    "cloning, best tenth": 2,
    "data, best episode": 3,
    "cloning, one for all tasks": 4,
    "data, mean": 5,
}
"""The controllers that are drawn, the same in every chart."""
THRESHOLDS = np.linspace(0, 1, 41)


def overall(summaries: Sequence[Summary]) -> str:
    """Return the charts over tasks that have a normalised score; empty where there are none."""
    scored = [summary for summary in summaries if summary.score is not None]
    policies = [summary for summary in scored if summary.controller == EXTRACTED]
    if len(policies) < 2:
        return ""
    return _per_task(scored, policies) + grid([_iqm(scored), _profiles(scored)])


def _per_task(scored: Sequence[Summary], policies: Sequence[Summary]) -> str:
    rows = [
        Comparison(
            policy.task,
            policy.score or 0.0,
            _normalised_interval(policy),
            [
                (rival.score or 0.0, colour)
                for name, colour in COLOURS.items()
                for rival in scored
                if (rival.task, rival.controller) == (policy.task, name) and name != EXTRACTED
            ],
        )
        for policy in policies
    ]
    chart = comparison_chart(rows, "score", lambda value: f"{value:.2f}")
    caption = (
        "Score of the extracted policies per task (bar; whisker: 95 % interval of the mean return, "
        "where the score is one) beside what they are held against. Score: return / 1000 for DM "
        "Control, success for Meta-World."
    )
    present = {summary.controller for summary in scored}
    legend = [(name, colour) for name, colour in COLOURS.items() if name in present]
    return figure(chart, caption, legend, wide=True)


def _normalised_interval(summary: Summary) -> tuple[float, float] | None:
    """Return the interval on the score's scale; ``None`` where the score is no return."""
    if summary.interval is None or summary.success is not None:
        return None
    low, high = summary.interval
    return low / 1000, high / 1000


def _iqm(scored: Sequence[Summary]) -> str:
    bars, tasks = [], []
    for controller in dict.fromkeys(summary.controller for summary in scored):
        scores = score_matrix(scored, controller)
        if scores is not None:
            over = aggregate(scores)
            tasks.append(scores.shape[1])
            bars.append(
                Bar(controller, over.iqm, over.iqm_interval, strong=controller == EXTRACTED)
            )
    chart = bar_chart(bars, "interquartile mean of the scores", lambda value: f"{value:.3f}")
    caption = (
        f"Interquartile mean over {_range(tasks)} tasks and training seeds, by rliable; "
        "whiskers: 95 % stratified bootstrap interval over training seeds, where there are several."
    )
    return figure(chart, caption)


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _profiles(scored: Sequence[Summary]) -> str:
    lines = []
    for controller, colour in COLOURS.items():
        scores = score_matrix(scored, controller)
        if scores is None:
            continue
        profile = performance_profile(scores, THRESHOLDS)
        points = list(zip(THRESHOLDS, profile.share, strict=True))
        band = list(zip(THRESHOLDS, profile.low, profile.high, strict=True))
        lines.append(Line(controller, points, colour, band=band if len(scores) > 1 else ()))
    chart = line_chart(lines, "score", "share of runs above")
    caption = (
        "Performance profiles by rliable: share of runs (task and training seed) with a score "
        "above the one on the axis; higher is better. Bands: 95 % over training seeds."
    )
    return figure(chart, caption, [(line.label, line.colour) for line in lines])
