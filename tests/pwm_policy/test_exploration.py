# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from pwm_core.data.behaviours.noise import EXPLORATION_CORRELATION
from pwm_core.tasks import get_task
from pwm_policy.exploration import CORRELATION, Exploration
from pwm_policy.guard import ActionGuard

ACTION = get_task("cheetah-run").action


@pytest.fixture
def guard() -> ActionGuard:
    return ActionGuard(ACTION, 0.01)


def drawn(exploration: Exploration, guard: ActionGuard, action: np.ndarray) -> np.ndarray:
    return np.stack([exploration(action, guard) for _ in range(2000)])


def test_deviation_is_a_part_of_the_range(guard: ActionGuard) -> None:
    middle = (ACTION.low + ACTION.high) / 2
    found = drawn(Exploration(0.05, 1), guard, middle)
    np.testing.assert_allclose(found.mean(0), middle, atol=0.03)
    np.testing.assert_allclose(found.std(0), 0.05 * (ACTION.high - ACTION.low), rtol=0.1)


def test_noise_stays_inside_the_limits(guard: ActionGuard) -> None:
    found = drawn(Exploration(0.3, 1), guard, ACTION.high)
    assert (found <= ACTION.high).all()
    assert (found >= ACTION.low).all()
    assert found.std() > 0.1


def test_the_same_seed_gives_the_same_noise(guard: ActionGuard) -> None:
    action = np.zeros(ACTION.size)
    one, same, other = (drawn(Exploration(0.1, s), guard, action) for s in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_without_noise_nothing_changes(guard: ActionGuard) -> None:
    beyond = ACTION.high + 1.0
    assert Exploration(0.0, 1)(beyond, guard) is beyond


def test_neighbouring_decisions_are_as_alike_as_in_recordings_of_the_core(
    guard: ActionGuard,
) -> None:
    assert CORRELATION == EXPLORATION_CORRELATION
    noise = drawn(Exploration(0.05, 1), guard, np.zeros(ACTION.size))
    found = [np.corrcoef(series[1:], series[:-1])[0, 1] for series in noise.T]
    np.testing.assert_allclose(found, CORRELATION, atol=0.05)
