# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from pwm_core.pretraining.quality import GAP_LIMIT, REWARD_ERROR_LIMIT, exploited, too_poor


@pytest.mark.parametrize("error", [0.0, 0.018, REWARD_ERROR_LIMIT])
def test_good_models(error: float) -> None:
    assert too_poor({"reward_error": error}) is None


@pytest.mark.parametrize("error", [REWARD_ERROR_LIMIT + 1e-6, 0.5, float("inf"), float("nan")])
def test_poor_models(error: float) -> None:
    assert "held-out relative reward error is" in (too_poor({"reward_error": error}) or "")


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
def test_exploitation(imagined: float, real: float, problem: bool) -> None:
    found = exploited({"imagined_return": imagined, "real_return": real})
    assert (found is not None) == problem
    if found:
        assert f"imagined return {imagined:.0f}, real {real:.0f}" in found
