# SPDX-License-Identifier: Apache-2.0
"""Single worlds as one vector environment, stepped one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pwm_core.tasks.task import SingleEnvironment, VectorStep


class SequentialVector:
    """Many single environments; one whose episode has ended keeps its last observation."""

    def __init__(self, environments: Sequence[SingleEnvironment]) -> None:
        self._environments = environments
        self.num_envs = len(environments)

    def reset(self) -> np.ndarray:
        self._observation = np.stack([e.reset()[0] for e in self._environments])
        self._terminated = np.zeros(self.num_envs, bool)
        self._truncated = np.zeros(self.num_envs, bool)
        return self._observation.copy()

    def step(self, action: np.ndarray) -> VectorStep:
        reward = np.zeros(self.num_envs)
        success = np.zeros(self.num_envs, bool)
        ended = self._terminated | self._truncated
        for i, environment in enumerate(self._environments):
            if ended[i]:
                continue
            seen, reward[i], self._terminated[i], self._truncated[i], info = environment.step(
                action[i]
            )
            self._observation[i] = seen
            success[i] = info.get("success", False)
        return VectorStep(
            self._observation.copy(),
            reward,
            self._terminated.copy(),
            self._truncated.copy(),
            success,
        )
