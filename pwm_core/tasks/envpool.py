# SPDX-License-Identifier: Apache-2.0
"""Many worlds in EnvPool's C++, of any of its environments."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pwm_core.tasks.task import VectorStep


def has_envpool() -> bool:
    """Return whether EnvPool is installed (it has no wheel for Python 3.10)."""
    return importlib.util.find_spec("envpool") is not None


def stack_observation(observation: Any, num_envs: int) -> np.ndarray:
    """Return ``[N, O]`` float32 of EnvPool's array or dictionary of arrays, in its own order."""
    parts = observation.values() if isinstance(observation, Mapping) else [observation]
    return np.concatenate([np.reshape(part, (num_envs, -1)) for part in parts], axis=1).astype(
        np.float32
    )


class EnvPoolEnvironment:
    """Many worlds of one EnvPool environment, with action repeat and episodes that stay ended.

    EnvPool starts a new episode by itself with the first step after a terminal state; here such a
    world repeats its last observation, without reward, until ``reset``. Repeats are stepped here,
    since EnvPool's own ``frame_skip`` returns only the last repeat's reward.
    """

    def __init__(
        self,
        envpool_id: str,
        action_size: int,
        num_envs: int,
        seed: int,
        *,
        episode_steps: int,
        action_repeat: int = 1,
        low: float | np.ndarray = -1.0,
        high: float | np.ndarray = 1.0,
        observation_key: str | Sequence[str] | None = None,
        success_key: str | None = None,
        **options: Any,
    ) -> None:
        """Make ``num_envs`` worlds of ``envpool_id``; each decision is ``action_repeat`` steps.

        ``low`` and ``high`` are the pool's action limits ``[A]``, to which ``[-1, 1]`` is mapped;
        ``observation_key`` selects one entry of a dictionary of observations, or several in order
        (without it all, in the pool's order), ``success_key`` an entry of ``info``; ``options`` go
        to ``envpool.make``.
        """
        import envpool  # heavy shared libraries: loaded when a vector is made

        self.num_envs = num_envs
        self._shape = (num_envs, action_size)
        self._low, self._span = low, np.subtract(high, low)
        self._episode_steps, self._action_repeat = episode_steps, action_repeat
        self._keys = [observation_key] if isinstance(observation_key, str) else observation_key
        self._success_key = success_key
        self._pool = envpool.make(
            envpool_id,
            env_type="gymnasium",
            num_envs=num_envs,
            seed=seed,
            max_episode_steps=episode_steps * action_repeat + 1,  # time is counted here
            **options,
        )
        self._dtype = self._pool.action_space.dtype

    def reset(self) -> np.ndarray:
        observation, _ = self._pool.reset()
        self._steps = 0
        self._terminated = np.zeros(self.num_envs, bool)
        self._observation = self._stack(observation)
        return self._observation.copy()

    def step(self, action: np.ndarray) -> VectorStep:
        command = self._low + (np.reshape(action, self._shape) + 1) / 2 * self._span
        reward = np.zeros(self.num_envs)
        success = np.zeros(self.num_envs, bool)
        for _ in range(self._action_repeat):
            running = ~self._terminated
            observation, gained, terminated, _, info = self._pool.step(command.astype(self._dtype))
            reward += np.where(running, gained, 0)
            if self._success_key is not None:
                success = np.where(running, np.asarray(info[self._success_key], bool), success)
            self._observation = np.where(
                running[:, None], self._stack(observation), self._observation
            )
            self._terminated |= running & terminated
        self._steps += 1
        truncated = ~self._terminated & (self._steps >= self._episode_steps)
        return VectorStep(self._observation, reward, self._terminated.copy(), truncated, success)

    def _stack(self, observation: Any) -> np.ndarray:
        if self._keys is not None:
            observation = {key: observation[key] for key in self._keys}
        return stack_observation(observation, self.num_envs)
