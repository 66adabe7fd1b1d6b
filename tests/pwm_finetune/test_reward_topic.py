# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

from pwm_finetune.reward_topic import MOST, RewardTopic
from pwm_finetune.transitions import Observed


class Heard:
    """What was passed on: step to reward."""

    def __init__(self) -> None:
        self.rewards: dict[int, float] = {}
        self.topic = RewardTopic(self._hear)

    def _hear(self, observed: Observed) -> None:
        assert observed.step not in self.rewards
        assert math.isnan(observed.total)
        self.rewards[observed.step] = observed.reward

    def see(self, step: int) -> None:
        """Observation ``step`` is sent at 10 * step."""
        self.topic.observe(observed(step, 10 * step))


def observed(step: int, time: int) -> Observed:
    return Observed(step, 0, step, np.zeros(1, np.float32), math.nan, time=time)


@pytest.mark.parametrize("first", ["observation", "reward"])
def test_it_does_not_count_which_topic_is_taken_first(first: str) -> None:
    heard = Heard()
    for step in range(1, 5):
        if first == "observation":
            heard.see(step)
        heard.topic.earn(0.1 * step, 10 * step - 1)
        if first == "reward":
            heard.see(step)
    heard.topic.flush()
    assert heard.rewards == pytest.approx({1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4})


def test_a_repeated_observation_takes_no_reward() -> None:
    heard = Heard()
    heard.see(1)
    heard.topic.flush()
    heard.topic.earn(0.5, 15)
    heard.topic.observe(observed(1, 16))
    heard.topic.earn(0.25, 20)
    heard.see(2)
    heard.topic.flush()
    assert heard.rewards[2] == 0.75


def test_without_a_reward_it_is_not_known() -> None:
    heard = Heard()
    heard.see(1)
    heard.see(2)
    heard.topic.earn(9.0, 10)  # of the first, which was passed on
    heard.topic.flush()
    assert math.isnan(heard.rewards[1])
    assert math.isnan(heard.rewards[2])


def test_rewards_of_an_observation_that_does_not_come_are_forgotten_and_not_counted_in_part() -> (
    None
):
    heard = Heard()
    heard.see(1)
    for count in range(3 * MOST):
        heard.topic.earn(1.0, 11 + count)
    assert len(heard.topic._earned) == MOST
    heard.topic.observe(observed(2, 20 + 3 * MOST))
    heard.topic.earn(0.5, 30 + 3 * MOST)
    heard.topic.observe(observed(3, 40 + 3 * MOST))
    heard.topic.flush()
    assert math.isnan(heard.rewards[2])
    assert heard.rewards[3] == 0.5
