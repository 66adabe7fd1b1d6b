# SPDX-License-Identifier: Apache-2.0
"""Puts rewards of a topic of their own on the observations that they belong to. No ROS.

The topics' messages are taken in any order, so that it counts when they were sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from pwm_finetune.transitions import Observed

MOST = 10_000
"""Rewards that wait for their observation at most."""


class RewardTopic:
    """An observation gets the sum of what was sent after the one before it and not after itself.

    It is held until the next one comes, for its reward may come after it. Without a reward it gets
    NaN, as it does where more than :data:`MOST` came before it. Times are integers of one clock;
    nanoseconds in ROS.
    """

    def __init__(self, observe: Callable[[Observed], None]) -> None:
        """``observe`` hears of each observation once, with its reward."""
        self._observe = observe
        self._earned: list[tuple[int, float]] = []
        self._held: Observed | None = None
        self._step: int | None = None
        self._before = -1

    def earn(self, reward: float, sent: int) -> None:
        """Take a reward; one that is too late for its observation counts nowhere."""
        if sent > self._before:
            self._earned.append((sent, reward))
        if len(self._earned) > MOST:  # the first two are one that nobody knows
            self._earned[:2] = [(self._earned[1][0], math.nan)]

    def observe(self, observed: Observed) -> None:
        """Take an observation; a repeated one is ignored."""
        if observed.step == self._step:
            return
        self.flush()
        self._step, self._held = observed.step, observed

    def flush(self) -> None:
        """Pass on what is held: no reward comes for it any more."""
        if self._held is None:
            return
        observed, self._held = self._held, None
        rewards = [reward for when, reward in self._earned if when <= observed.time]
        self._earned = [(when, reward) for when, reward in self._earned if when > observed.time]
        self._before = observed.time
        total = sum(rewards) if rewards else math.nan
        self._observe(replace(observed, reward=total, total=math.nan))
