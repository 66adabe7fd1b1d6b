# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from pwm_core.evaluation.bootstrap import bootstrap_interval


def test_interval_of_a_normal_sample() -> None:
    returns = np.random.default_rng(1).normal(100, 10, 50)
    low, high = bootstrap_interval([returns])
    error = returns.std() / np.sqrt(50)
    assert low == pytest.approx(returns.mean() - 1.96 * error, abs=0.6)
    assert high == pytest.approx(returns.mean() + 1.96 * error, abs=0.6)
    assert bootstrap_interval([returns]) == (low, high), "the same figures, the same interval"


def test_interval_of_few_figures() -> None:
    assert bootstrap_interval([[5.0]]) is None
    assert bootstrap_interval([[5.0, 5.0, 5.0]]) == (5.0, 5.0)
    low, high = bootstrap_interval([[1.0, 3.0]])
    assert 1.0 <= low <= 2.0 <= high <= 3.0


def test_training_seeds_that_differ_widen_the_interval() -> None:
    """30 episodes of one training say less of another training than of themselves."""
    rng = np.random.default_rng(0)
    groups = [rng.normal(mean, 5, 10) for mean in (50, 100, 150)]
    low, high = bootstrap_interval(groups)
    assert low < 70
    assert high > 130
    same = [rng.normal(100, 5, 10) for _ in range(3)]
    low, high = bootstrap_interval(same)
    assert 95 < low < high < 105


def test_the_mean_of_two_trainings_is_resampled_by_training() -> None:
    """Of two trainings without spread, the resampled means are a, (a + b) / 2, b: 1 : 2 : 1."""
    assert bootstrap_interval([[0.0, 0.0], [1.0, 1.0]]) == (0.0, 1.0)
