# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pwm_core.history import History, previous_commands, with_history
from pwm_core.layout import ActionChannel, ActionLayout, ObservationChannel, ObservationLayout

POSITION = ObservationChannel("arm/position", "rad", "joint_states", "arm", "position")
VELOCITY = ObservationChannel("arm/velocity", "rad/s", "joint_states", "arm", "velocity")
ACTION = ActionLayout(
    (ActionChannel("motor", "arm", "effort", "N·m", low=-1.0, high=3.0, safe=0.0),)
)


def decisions(history: History, count: int) -> list[list[float]]:
    """What is recalled at each of ``count`` decisions at which every channel says the time."""
    seen = []
    for time in range(count):
        present = np.full(4, time, np.float32)
        seen.append(history.recall(present).tolist())
        history.remember(present)
    return seen


@pytest.fixture
def history() -> History:
    lags = (0, 1, 3, 0)
    return History(
        ObservationLayout(
            tuple(replace(POSITION, name=str(i), lag=lag) for i, lag in enumerate(lags))
        )
    )


def test_entries_are_as_old_as_their_lag_and_at_first_the_oldest_there_is(history: History) -> None:
    expected = [[0, 0, 0, 0], [1, 0, 0, 1], [2, 1, 0, 2], [3, 2, 0, 3], [4, 3, 1, 4], [5, 4, 2, 5]]
    assert decisions(history, 6) == expected
    history.reset()
    assert decisions(history, 3) == expected[:3]


def test_looking_twice_changes_nothing(history: History) -> None:
    decisions(history, 3)
    present = np.full(4, 3, np.float32)
    assert history.recall(present).tolist() == history.recall(present).tolist() == [3, 2, 0, 3]


@pytest.mark.parametrize("before", [0, 2, 7])
def test_what_is_remembered_can_be_put_back(history: History, before: int) -> None:
    decisions(history, before)
    state, present = history.state(), np.full(4, 9, np.float32)
    expected = history.recall(present).tolist()
    decisions(history, 5)
    assert len(history.state()) == len(state)
    history.restore(state)
    assert history.recall(present).tolist() == expected


def test_layouts_with_history() -> None:
    layout = ObservationLayout(with_history((POSITION, VELOCITY), 2))
    assert layout.names == (
        "arm/position",
        "arm/velocity",
        "arm/position/1_ago",
        "arm/velocity/1_ago",
        "arm/position/2_ago",
        "arm/velocity/2_ago",
    )
    assert [channel.lag for channel in layout.channels] == [0, 0, 1, 1, 2, 2]
    assert with_history((POSITION,), 0) == (POSITION,)


def test_previous_commands_are_scaled_to_their_limits() -> None:
    (channel,) = previous_commands(ACTION)
    assert (channel.topic, channel.key, channel.field) == ("action", "motor", "value")
    assert [channel.read(command) for command in (-1.0, 0.0, 1.0, 3.0)] == [-1.0, -0.5, 0.0, 1.0]
