# SPDX-License-Identifier: Apache-2.0
"""Noise on the policy's actions, so that what is recorded tells what other actions would do."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pwm_policy.guard import ActionGuard


@dataclass(frozen=True)
class Exploration:
    """White noise whose deviation is a part of each action's range, inside the limits.

    The same seed gives the same noise, from the first action of a loop on.
    """

    noise: float
    """Standard deviation as a fraction of the range; 0: none."""
    seed: int

    @cached_property
    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def __call__(self, action: np.ndarray, guard: ActionGuard) -> np.ndarray:
        """Return ``action [A]`` with noise; an action at its limit stays inside."""
        if not self.noise:
            return action
        noise = self.noise * guard.span * self._rng.standard_normal(action.shape)
        return guard.inside(action + noise)
