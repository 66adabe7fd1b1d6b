# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from pwm_core.layout import ActionChannel, ActionLayout
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
    ("action", "limited", "clipped"), [(0.5, 0.5, False), (1.0, 1.0, False), (-3.0, -1.0, True)]
)
def test_actions_are_kept_in_their_limits(action: float, limited: float, clipped: bool) -> None:
    guard = ActionGuard(TASK.action, TASK.control_step)
    result = guard.limit(np.array([action], np.float32), guard.rest)
    assert result.values == pytest.approx([limited])
    assert (result.clipped, result.slowed) == (clipped, False)


def test_float_noise_at_a_limit_is_not_a_limited_action() -> None:
    guard = ActionGuard(TASK.action, TASK.control_step)
    assert not guard.limit(np.array([1.0 + 1e-7]), guard.rest).clipped


ARM = ActionLayout(
    (
        ActionChannel("lift", "elbow", "position", "rad", -2.0, 2.0, 0.5, rate=3.0),
        ActionChannel("turn", "wrist", "effort", "N·m", -9.0, 9.0, 0.0, rate=10.0),
        ActionChannel("grip", "finger", "position", "rad", 0.0, 1.0, 0.0),
    )
)


def test_a_command_changes_by_no_more_than_its_rate() -> None:
    guard = ActionGuard(ARM, 0.1)
    result = guard.limit(np.array([-5.0, 0.9, 1.0]), guard.rest)
    assert result.values == pytest.approx([0.5 - 0.3, 0.9, 1.0])
    assert (result.clipped, result.slowed) == (True, True)


def test_the_way_to_an_action_ends_there() -> None:
    guard, values = ActionGuard(ARM, 0.1), np.array([2.0, 9.0, 1.0])
    way = []
    for _ in range(20):
        values = guard.limit(np.array([-1.0, 1.0, 0.5]), values).values
        way.append(values)
    assert np.abs(np.diff([np.array([2.0, 9.0, 1.0]), *way], axis=0)[:, :2]).max(
        0
    ) == pytest.approx([0.3, 1.0])
    assert values == pytest.approx([-1.0, 1.0, 0.5])


def test_only_positions_with_a_rate_take_time_to_be_safe() -> None:
    assert ActionGuard(ARM, 0.1).towards_safe(np.array([2.0, 9.0, 1.0])) == pytest.approx(
        [1.7, 0, 0]
    )


def test_holding_keeps_positions_and_stops_the_rest() -> None:
    guard = ActionGuard(ARM, 0.1)
    found = guard.held(np.array([1.5, 9.0, 1.0]))
    for value, channel, previous in zip(found, ARM.channels, (1.5, 9.0, 1.0), strict=True):
        position = channel.interpretation == "position"
        assert value == (np.clip(previous, channel.low, channel.high) if position else channel.safe)
    assert {c.interpretation for c in ARM.channels} > {"position"}
