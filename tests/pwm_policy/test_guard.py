# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from pwm_core.tasks import get_task
from pwm_policy.guard import ActionGuard, ObservationGuard

TASK = get_task("cartpole-balance")
GOOD = np.zeros(5, np.float32)


@pytest.fixture
def guard() -> ObservationGuard:
    return ObservationGuard(TASK.observation)


def test_a_good_observation_passes(guard: ObservationGuard) -> None:
    assert guard.objection(TASK.observation.hash(), GOOD) == ""


def test_another_layout_is_named(guard: ObservationGuard) -> None:
    assert "layout hash is 'abc'" in guard.objection("abc", GOOD)


def test_wrong_length_is_named(guard: ObservationGuard) -> None:
    assert guard.objection(TASK.observation.hash(), GOOD[:3]) == "3 entries, expected 5"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_entries_that_are_not_finite_are_named(guard: ObservationGuard, bad: float) -> None:
    data = GOOD.copy()
    data[[1, 4]] = bad
    assert guard.objection(TASK.observation.hash(), data) == "entries [1, 4] are not finite"


@pytest.mark.parametrize(
    ("action", "limited", "moved"), [(0.5, 0.5, False), (1.0, 1.0, False), (-3.0, -1.0, True)]
)
def test_actions_are_kept_in_their_limits(action: float, limited: float, moved: bool) -> None:
    result, was_moved = ActionGuard(TASK.action).limit(np.array([action], np.float32))
    assert result == pytest.approx([limited])
    assert was_moved is moved


def test_float_noise_at_a_limit_is_not_a_limited_action() -> None:
    _, moved = ActionGuard(TASK.action).limit(np.array([1.0 + 1e-7]))
    assert not moved
