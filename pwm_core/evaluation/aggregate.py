# SPDX-License-Identifier: Apache-2.0
"""A controller over many tasks, by ``rliable`` (arXiv 2108.13264).

Scores are ``[training seeds, tasks]``, each the mean of its episodes; training seeds are resampled
within each task.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from rliable import library, metrics

from pwm_core.evaluation.bootstrap import REPETITIONS, Interval

PROFILE_REPETITIONS = 500


@dataclass(frozen=True)
class Aggregate:
    """A controller over tasks; scores are about in [0, 1]."""

    iqm: float
    """Interquartile mean: the mean of the middle half of all runs."""
    iqm_interval: Interval | None
    """95 %, ``None`` with a single training seed."""
    mean: float
    median: float
    """Of the tasks' means."""


def aggregate(scores: np.ndarray) -> Aggregate:
    """Return rliable's figures of ``scores [training seeds, tasks]``."""
    interval = None
    if len(scores) > 1:
        with _repeatable():
            _, intervals = library.get_interval_estimates(
                {"": scores}, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=REPETITIONS
            )
        interval = float(intervals[""][0, 0]), float(intervals[""][1, 0])
    return Aggregate(
        float(metrics.aggregate_iqm(scores)),
        interval,
        float(metrics.aggregate_mean(scores)),
        float(metrics.aggregate_median(scores)),
    )


@dataclass(frozen=True)
class Profile:
    """Share of runs with a score above each threshold."""

    threshold: np.ndarray
    """``[K]``"""
    share: np.ndarray
    """``[K]`` in [0, 1]."""
    low: np.ndarray
    """``[K]`` lower end of the 95 % interval; equal to ``share`` with one training seed."""
    high: np.ndarray
    """``[K]``"""


def performance_profile(scores: np.ndarray, threshold: np.ndarray) -> Profile:
    """Return rliable's profile of ``scores [training seeds, tasks]`` at ``threshold [K]``."""
    with _repeatable():
        share, band = library.create_performance_profile(
            {"": scores}, threshold, reps=PROFILE_REPETITIONS
        )
    return Profile(threshold, share[""], *band[""])


@contextmanager
def _repeatable() -> Iterator[None]:
    """Seed numpy's global generator, which rliable draws from, and put it back afterwards."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)
