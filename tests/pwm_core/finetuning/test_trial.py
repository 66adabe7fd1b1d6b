# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_ind

from pwm_core.finetuning.trial import ERROR, NEVER, better, judge

DRAWS = 4000


def taken_back(draw: Callable[[int], np.ndarray], watched: int, before: int) -> float:
    """Return how often a candidate is taken back that earns as the policy before."""
    found = [judge(draw(watched).tolist(), draw(before).tolist()).passed for _ in range(DRAWS)]
    return 1 - float(np.mean(found))


@pytest.mark.parametrize("episodes", [(3, 3), (5, 5), (2, 3), (3, 5)])
def test_a_candidate_that_is_as_good_is_rarely_taken_back(episodes: tuple[int, int]) -> None:
    """Where nothing but the level decides: returns that spread far more than by ``ALIKE``."""
    rng = np.random.default_rng(0)
    found = taken_back(lambda count: rng.normal(700.0, 50.0, count), *episodes)
    assert found <= ERROR + 3 * math.sqrt(ERROR * (1 - ERROR) / DRAWS)


def test_a_policy_that_falls_every_tenth_time_is_taken_back_for_it_one_time_in_four() -> None:
    rng = np.random.default_rng(0)
    found = taken_back(lambda count: np.where(rng.random(count) < 0.1, 300.0, 800.0), 5, 5)
    assert 0.2 < found < 0.3


def test_the_bound_is_students_for_two_samples_where_both_vary_alike() -> None:
    before, shape = [500.0, 480.0, 530.0, 490.0], np.array([-2.0, 0.0, 3.0])
    bound = judge((400.0 + shape).tolist(), before).bound
    at = bound - shape.mean() + shape
    assert ttest_ind(at, before, alternative="less").pvalue == pytest.approx(ERROR / 2)
    assert not judge((at - 1e-3).tolist(), before).passed
    assert judge((at + 1e-3).tolist(), before).passed


def test_one_failure_counts_where_the_policy_before_was_steady() -> None:
    assert not judge([501.0, 499.0, 0.0], [500.0, 498.0, 502.0]).passed
    assert judge([501.0, 499.0, 0.0], [500.0, 0.0, 502.0]).passed


def test_one_that_earns_half_is_always_taken_back() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        before, half = rng.normal(700.0, 20.0, 3), rng.normal(350.0, 20.0, 3)
        assert not judge(half.tolist(), before.tolist()).passed


def test_an_erratic_policy_before_does_not_excuse_everything() -> None:
    before = [16.0, 197.0, 174.0]
    assert not judge([69.0, 69.0, 62.0], before).passed
    least = (1 - NEVER) * float(np.mean(before))
    assert judge([least + 1.0] * 3, before).passed
    assert not judge([least - 1.0] * 3, before).passed


def test_what_never_passes_is_measured_by_the_size_of_returns_where_they_are_costs() -> None:
    before = [-16.0, -197.0, -174.0]
    assert judge([-165.0] * 3, before).passed
    assert not judge([-175.0] * 3, before).passed
    assert judge([-2.0] * 3, [-90.0, 100.0, -10.0]).passed


def test_returns_that_never_vary_may_differ_a_little() -> None:
    before = [0.1 + 0.2] * 5
    assert judge([0.3] * 3, before).passed
    assert judge([-0.3] * 3, [-0.3] * 5).passed
    assert judge([0.299] * 3, before).passed
    assert not judge([0.29] * 3, before).passed


def test_single_returns_are_compared_as_they_are() -> None:
    assert judge([110.0], [110.0]).passed
    assert not judge([109.0], [110.0]).passed
    assert not judge([0.0, 1.0], [110.0]).passed


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("earned", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_does_not_stay(earned: float) -> None:
    assert not judge([700.0, earned, 700.0], [700.0, 690.0]).passed


def test_of_candidates_that_each_lose_a_little_fewer_stay() -> None:
    """Ten in a row that earn one deviation less each, with and without memory of the better one."""
    (lost, _), (lost_without, _) = (drift(kept, 1.0) for kept in (better, newest))
    assert lost < 0.85 * lost_without


def test_memory_of_the_better_one_takes_back_few_more_that_are_as_good() -> None:
    _, taken_back = drift(better, 0.0)
    assert taken_back < 2 * ERROR


def newest(returns: list[float], before: list[float]) -> list[float]:
    """What the next candidate is held against, were there no memory."""
    return returns


def drift(kept: Callable[..., Any], lost_by_each: float) -> tuple[float, float]:
    """Return what is lost after ten candidates, in deviations, and the part taken back.

    After one that is taken back, what acts is measured anew.
    """
    rng, chains, rounds = np.random.default_rng(0), 200, 10
    lost, taken = 0.0, 0

    def earned(mean: float) -> list[float]:
        return rng.normal(mean, 1.0, 3).tolist()

    for _ in range(chains):
        acting, before = 20.0, earned(20.0)
        for _ in range(rounds):
            candidate = acting - lost_by_each
            returns = earned(candidate)
            if judge(returns, before).passed:
                acting, before = candidate, kept(returns, before)
            else:
                taken, before = taken + 1, earned(acting)
        lost += (20.0 - acting) / chains
    return lost, taken / (chains * rounds)
