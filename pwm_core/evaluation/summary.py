# SPDX-License-Identifier: Apache-2.0
"""Scores put together: per task over training seeds, and over tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pwm_core.evaluation.bootstrap import Interval, bootstrap_interval
from pwm_core.evaluation.published import normalised, published
from pwm_core.evaluation.score import Score

AUTHORS = "published"
"""Controller name of the authors' scores."""


@dataclass(frozen=True)
class Summary:
    """One controller on one task, over its training seeds."""

    task: str
    controller: str
    training_seeds: int
    """Trainings that were evaluated, at least 1."""
    episodes: int
    """Of all training seeds together."""
    mean: float
    """Mean return."""
    interval: Interval | None
    """95 % bootstrap interval of the mean, over training seeds and episodes."""
    success: float | None
    normalised: tuple[float, ...]
    """Score of each training seed, about in [0, 1]; empty for tasks that were not published."""
    decision_ms: tuple[float, float] | None = None
    """Median and 99th percentile of the time per decision; the slowest training seed's."""

    @property
    def score(self) -> float | None:
        """Return the mean normalised score."""
        return float(np.mean(self.normalised)) if self.normalised else None


def summarise(scores: Iterable[Score]) -> list[Summary]:
    """Return one summary per task and controller, in the order of the scores."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.task, score.controller), []).append(score)
    return [_summary(group) for group in groups.values()]


def _summary(group: Sequence[Score]) -> Summary:
    rates = [score.success_rate for score in group]
    success = None if None in rates else float(np.mean([r for r in rates if r is not None]))
    each = [normalised(score.task, score.mean, score.success_rate) for score in group]
    times = [score.decision_ms for score in group if score.decision_ms]
    return Summary(
        group[0].task,
        group[0].controller,
        len(group),
        sum(len(score.returns) for score in group),
        float(np.mean([score.mean for score in group])),
        bootstrap_interval([score.returns for score in group]),
        success,
        tuple(value for value in each if value is not None),
        max(times) if times else None,
    )


def authors(tasks: Iterable[str], suite: str) -> list[Summary]:
    """Return the authors' scores on those of ``tasks`` that ``suite`` has."""
    found = [published(suite)[task] for task in tasks if task in published(suite)]
    return [
        Summary(
            score.task,
            AUTHORS,
            1,
            10,
            score.episode_return,
            None,
            score.success if score.by_success else None,
            (score.score,),
        )
        for score in found
    ]


def score_matrix(summaries: Iterable[Summary], controller: str) -> np.ndarray | None:
    """Return normalised scores ``[training seeds, tasks]`` of ``controller``; ``None`` without.

    Tasks with more training seeds than others count with as many as all have.
    """
    rows = [s.normalised for s in summaries if s.controller == controller and s.normalised]
    if not rows:
        return None
    seeds = min(map(len, rows))
    return np.array([row[:seeds] for row in rows]).T
