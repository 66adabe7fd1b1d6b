# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pwm_core.extraction.diagnosis import (
    GAP_LIMIT,
    NOISE_LIMIT,
    DataReturns,
    diagnose,
    early_plateau,
    exploited,
    gap,
    gradient_variance,
    model_exploitation,
    poor_performance,
    slow_convergence,
)

DATA = DataReturns(mean=292.0, best=634.0)
SOLVED = [
    (0, 26, 66, None),
    (50, 671, 654, 0.53),
    (100, 802, 864, 0.57),
    (150, 692, 823, 0.47),
    (200, 787, 842, 1.12),
    (250, 809, 841, 0.78),
    (300, 834, 850, 0.64),
    (350, 826, 838, 0.65),
    (400, 841, 845, 1.19),
]
"""cartpole-swingup at the defaults: step, real and imagined return, noise of the gradient."""


def curve(rows: list[tuple[int, float | None, float, float | None]]) -> list[dict[str, Any]]:
    return [
        {"step": step, "real_return": real, "imagined_return": imagined}
        | ({} if noise is None else {"gradient_noise/actor": noise})
        for step, real, imagined, noise in rows
    ]


def series(
    real: list[float] | None, imagined: list[float], noise: float = 0.5
) -> list[dict[str, Any]]:
    known = real or [None] * len(imagined)
    rows = zip(known, imagined, strict=True)
    return curve([(100 * i, r, m, noise if i else None) for i, (r, m) in enumerate(rows)])


def test_a_run_that_solved_its_task_shows_nothing() -> None:
    last = {"real_return": 841.0, "imagined_return": 845.0}
    quality = {"reward_error": 0.02}
    assert diagnose("cartpole-swingup", curve(SOLVED), last, DATA, quality) == []


@pytest.mark.parametrize(
    ("scores", "found"),
    [
        ([0, 300, 300, 298, 301, 300, 299, 300], True),
        ([0, 10, 150, 200, 250, 290, 300, 310], False),
        ([0, 650, 650, 650, 650, 650, 650, 650], False),  # above the data's best: solved
        ([50, 20, 20, 20, 20, 20, 20, 20], True),  # never learned
        ([0, 300, 300], False),  # too short to tell
    ],
)
def test_early_plateau(scores: list[float], found: bool) -> None:
    finding = early_plateau(series(scores, [0.0] * len(scores)), DATA)
    assert (finding is not None) == found
    if finding:
        assert "634" in finding.evidence
        assert "regularised" in finding.advice
    imagined_only = early_plateau(series(None, scores), DATA)
    assert (imagined_only is not None) == found


@pytest.mark.parametrize(
    ("noise", "found"), [(0.5, False), (NOISE_LIMIT, False), (0.95, True), (float("nan"), False)]
)
def test_gradient_variance(noise: float, found: bool) -> None:
    finding = gradient_variance(series(None, [0.0] * 6, noise), DATA)
    assert (finding is not None) == found


def test_noise_of_a_converged_policy_is_no_failure() -> None:
    """At an optimum the gradient is noise: only the first half tells."""
    lines = series(None, [0.0] * 9)
    for line in lines[5:]:
        line["gradient_noise/actor"] = 1.2
    assert gradient_variance(lines, DATA) is None
    solved = series([700.0] * 6, [700.0] * 6, noise=1.2)  # begun from a good policy
    assert gradient_variance(solved, DATA) is None


def test_pure_noise_is_at_the_limit() -> None:
    """The measure's scale: gradients of independent parts that share no direction give one."""
    rng = np.random.default_rng(0)
    each = rng.normal(size=(8, 100_000))
    error = np.sqrt(each.var(0, ddof=1).sum() / 8) / np.linalg.norm(each.mean(0))
    assert error == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("imagined", "found"),
    [
        ([0, 100, 200, 300, 400, 500, 600, 700, 800], True),
        ([0, 400, 600, 700, 750, 780, 790, 795, 800], False),
        ([100, 50, 40, 30, 20, 10, 5, 0, 0], False),
        ([0, 400, 800], False),
    ],
)
def test_slow_convergence(imagined: list[float], found: bool) -> None:
    finding = slow_convergence(series(None, imagined))
    assert (finding is not None) == found
    if finding:
        assert "25% of all that was gained" in finding.evidence


@pytest.mark.parametrize(("error", "advice"), [(0.5, "under-trained"), (0.01, "may not cover")])
def test_poor_performance(error: float, advice: str) -> None:
    quality = {"reward_error": error}
    finding = poor_performance("t", {"real_return": 200.0}, DATA, quality)
    assert finding is not None
    assert advice in finding.advice
    assert "real return 200, below the data's mean of 292" in str(finding)
    assert poor_performance("t", {"real_return": 292.0}, DATA, quality) is None
    assert poor_performance("t", {"real_return": None}, DATA, quality) is None


def test_exploitation_is_a_finding() -> None:
    finding = model_exploitation({"imagined_return": 900.0, "real_return": 100.0})
    assert finding is not None
    assert "--uncertainty-penalty" in finding.advice
    assert model_exploitation({"imagined_return": 900.0, "real_return": 880.0}) is None


@pytest.mark.parametrize(
    ("imagined", "real", "problem"),
    [
        (800.0, 790.0, False),
        (800.0, 900.0, False),
        (800.0, 800.0 * (1 - GAP_LIMIT), False),
        (800.0, 800.0 * (1 - GAP_LIMIT) - 1, True),
        (0.0, 0.0, False),
        (-10.0, -100.0, True),
        (-10.0, -12.0, False),
        (float("nan"), 500.0, True),
        (500.0, float("nan"), True),
    ],
)
def test_exploited(imagined: float, real: float, problem: bool) -> None:
    found = exploited({"imagined_return": imagined, "real_return": real})
    assert (found is not None) == problem
    if found:
        assert f"imagined return {imagined:.0f}, real {real:.0f}" in found


def test_an_unknown_real_return_accuses_nobody() -> None:
    figures = {"imagined_return": 900.0, "real_return": None}
    assert exploited(figures) is None
    assert gap(figures) is None
    assert gap({"imagined_return": 900.0, "real_return": 850.0}) == 50.0
