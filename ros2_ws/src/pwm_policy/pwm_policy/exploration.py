# SPDX-License-Identifier: Apache-2.0
"""Noise on the policy's actions, so that what is recorded tells what other actions would do."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from pwm_policy.guard import ActionGuard

CORRELATION = 0.8
"""Of the noise of neighbouring decisions, as in the core's recordings: white noise averages out
before the robot has moved."""


@dataclass
class Exploration:
    """Correlated noise whose deviation is a part of each action's range, inside the limits.

    The same seed gives the same noise, from the first action of a loop on.
    """

    noise: float
    """Standard deviation as a fraction of the range; 0: none."""
    seed: int
    _rng: np.random.Generator = field(init=False, repr=False, compare=False)
    _last: np.ndarray | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def __call__(self, action: np.ndarray, guard: ActionGuard) -> np.ndarray:
        """Return ``action [A]`` with noise; an action at its limit stays inside."""
        if not self.noise:
            return action
        fresh = self._rng.standard_normal(action.shape)
        if self._last is not None:
            fresh = CORRELATION * self._last + math.sqrt(1 - CORRELATION**2) * fresh
        self._last = fresh
        return guard.inside(action + self.noise * guard.span * fresh)
