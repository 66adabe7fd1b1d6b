# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from pwm_core.evaluation.aggregate import aggregate, performance_profile
from pwm_core.evaluation.published import published


@pytest.mark.parametrize(
    ("suite", "mean", "median", "iqm"),
    [("mt30", 0.768, 0.868, 0.864), ("mt80", 0.818, 0.900, 0.913)],
)
def test_the_authors_figures_come_out(suite: str, mean: float, median: float, iqm: float) -> None:
    scores = np.array([[score.score for score in published(suite).values()]])
    over = aggregate(scores)
    assert (over.mean, over.median, over.iqm) == pytest.approx((mean, median, iqm), abs=6e-4)
    assert over.iqm_interval is None


def test_interquartile_mean_leaves_out_the_outer_quarters() -> None:
    over = aggregate(np.array([[0.0, 0.4], [0.6, 100.0]]))
    assert over.iqm == pytest.approx(0.5)
    low, high = over.iqm_interval
    assert low < 0.5 < high


def test_intervals_are_repeatable_and_leave_the_global_generator_alone() -> None:
    scores = np.random.default_rng(0).uniform(size=(3, 5))
    np.random.seed(7)
    first = aggregate(scores)
    drawn = np.random.uniform()
    np.random.seed(7)
    assert np.random.uniform() == drawn
    assert aggregate(scores) == first


def test_profile_is_the_share_of_runs_above_a_threshold() -> None:
    scores = np.array([[0.1, 0.5], [0.3, 0.9]])
    profile = performance_profile(scores, np.array([0.0, 0.2, 0.5, 0.95]))
    assert profile.share.tolist() == [1.0, 0.75, 0.25, 0.0]
    assert (profile.low <= profile.share).all()
    assert (profile.high >= profile.share).all()
    assert profile.high[1] > profile.low[1]
