# SPDX-License-Identifier: Apache-2.0
"""Lets the policy explore while episodes are gathered, and act as itself while it is judged."""

from __future__ import annotations

from pwm_finetune.lease import Lease
from pwm_finetune.policy_client import PolicyClient

LEASE_SECONDS = 5.0
"""The noise ends by itself so long after it was last asked for: this process may have died."""
NONE = (0.0, 0)
"""No noise, and the seed of it."""


class Explorer:
    """Sets the policy node's ``exploration_noise``; leaves it alone without ``levels``."""

    def __init__(self, policy_node: PolicyClient, levels: tuple[float, ...]) -> None:
        """``levels`` are deviations as fractions of the actions' range, used in turn."""
        self._levels = levels
        self._noise = Lease(lambda noise: policy_node.explore(*noise, LEASE_SECONDS), NONE)
        self._disturbed = bool(levels)

    @property
    def calm(self) -> bool:
        """Whether the policy acts without noise of ours, as far as is known."""
        return not self._levels or self._noise.over

    def want(self, exploring: bool, episode: int) -> None:
        """Ask for the noise of an episode, by its number, or for none; no two have the same."""
        if not self._levels:
            return
        level = self._levels[episode % len(self._levels)]
        if self._noise.want((level, episode) if exploring and level else NONE):
            self._disturbed = True

    def ended(self) -> bool:
        """Hear that an episode ended; return whether the policy acted as itself all through."""
        calm, self._disturbed = not self._disturbed, not self.calm
        return calm
