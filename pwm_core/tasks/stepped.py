# SPDX-License-Identifier: Apache-2.0
"""Planning on any task's own environments: exact, and slow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pwm_core.tasks.task import SingleEnvironment


class SteppedDynamics:
    """Plans are stepped one after the other in their own environment, which is then put back.

    A plan earns nothing after a terminal state. An environment's reward must depend on nothing but
    what ``restore`` sets and what its episode drew.
    """

    def __init__(
        self, environments: Sequence[SingleEnvironment], threads: int, coarseness: int = 1
    ) -> None:
        if coarseness != 1:
            raise ValueError(f"environments make their own steps, not {coarseness} at a time")
        self._environments = environments

    def rollout(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Return rewards ``[E, N, T]`` of decisions ``[E, N, T, A]`` from states ``[E, S]``."""
        reward = np.zeros(action.shape[:3])
        for e, environment in enumerate(self._environments):
            present = environment.state()
            for n, plan in enumerate(action[e]):
                self._begin(environment, state[e])
                for t, decision in enumerate(plan):
                    repeats = range(environment.substeps)
                    reward[e, n, t] = sum(environment.substep(decision) for _ in repeats)
                    if environment.terminated:
                        break
            self._begin(environment, present)
        return reward

    @staticmethod
    def _begin(environment: SingleEnvironment, state: np.ndarray) -> None:
        environment.restore(state)
        environment.terminated = False
