# SPDX-License-Identifier: Apache-2.0
"""Lets the policy explore while episodes are gathered, and act as itself while it is judged."""

from __future__ import annotations

import time

from pwm_finetune.policy_client import Call, PolicyClient

LEASE_SECONDS = 5.0
"""The noise ends by itself so long after it was last asked for: this process may have died."""
RENEWAL_SECONDS = 1.0
NONE = (0.0, 0)
"""No noise, and the seed of it."""


class Explorer:
    """Sets the policy node's ``exploration_noise``; leaves it alone without ``levels``."""

    def __init__(self, policy_node: PolicyClient, levels: tuple[float, ...]) -> None:
        """``levels`` are deviations as fractions of the actions' range, used in turn."""
        self._policy_node, self._levels = policy_node, levels
        self._noise: tuple[float, int] | None = None
        self._call: Call | None = None
        self._asked = 0.0
        self._disturbed = bool(levels)

    @property
    def calm(self) -> bool:
        """Whether the policy acts without noise of ours, as far as is known."""
        return not self._levels or (self._answered() and self._noise == NONE)

    def want(self, exploring: bool, episode: int) -> None:
        """Ask for the noise of an episode, by its number, or for none; no two have the same."""
        if not self._levels or not self._answered():
            return
        level = self._levels[episode % len(self._levels)]
        noise = (level, episode) if exploring and level else NONE
        due = noise != NONE and time.monotonic() - self._asked > RENEWAL_SECONDS
        if noise != self._noise:
            self._noise, self._disturbed, due = noise, True, True
        if due:
            self._asked = time.monotonic()
            self._call = self._policy_node.explore(*noise, LEASE_SECONDS)

    def _answered(self) -> bool:
        """Whether nothing is on its way; what was not done is asked for again."""
        if self._call is None:
            return True
        response = self._call.response()
        if response is not None and all(result.successful for result in response.results):
            self._call = None
        elif response is not None or self._call.lost():
            self._call = self._noise = None
        return self._call is None

    def ended(self) -> bool:
        """Hear that an episode ended; return whether the policy acted as itself all through."""
        calm, self._disturbed = not self._disturbed, not self.calm
        return calm
