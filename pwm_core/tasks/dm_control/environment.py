# SPDX-License-Identifier: Apache-2.0
"""One dm_control world, for the bridge, evaluation, video and planning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from pwm_core.layout import ActionLayout
from pwm_core.tasks.dm_control.body import Body
from pwm_core.tasks.readings import Readings, Reward
from pwm_core.tasks.task import SingleEnvironment

ACTION_REPEAT = 2
EPISODE_STEPS = 500
Load = Callable[[int], Any]
"""``load(seed)``: dm_control's environment, without a time limit."""


def load_published(body: Body, name: str, seed: int) -> Any:
    """Return task ``name`` of dm_control's suite."""
    with warnings.catch_warnings():  # without a display glfw warns in every process
        warnings.filterwarnings("ignore", module="glfw")
        from dm_control.suite import load  # slow, and not needed to describe a task

    # No time limit of its own: the episode's end is ours, and a bridge may run on for hours.
    return load(body.domain, name, task_kwargs={"random": seed, "time_limit": float("inf")})


def load_custom(body: Body, make_task: Callable[[Any, int], Any], reward: Reward, seed: int) -> Any:
    """Return ``make_task(domain's module, seed)`` with another reward, on the body's own model.

    Starts and observations remain those of dm_control's task.
    """
    module = body.module()
    from dm_control.mujoco import wrapper
    from dm_control.rl import control

    physics = module.Physics.from_model(wrapper.MjModel(body.compile()))
    task = make_task(module, seed)
    model, data = physics.model.ptr, physics.data.ptr
    task.get_reward = lambda _: float(reward(Readings.of(model, data))[0])
    return control.Environment(
        physics, task, time_limit=float("inf"), control_timestep=body.simulator_step
    )


class DmControlEnvironment(SingleEnvironment):
    """One dm_control world behind the Gymnasium interface."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (Gymnasium's convention)
    substeps = ACTION_REPEAT

    def __init__(self, load: Load, action: ActionLayout, seed: int) -> None:
        self._environment = load(seed)
        self._action = action
        self._steps = 0
        self.model = self._environment.physics.model.ptr
        self.data = self._environment.physics.data.ptr
        self._environment.reset()
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, self.observation().shape, np.float32
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (action.size,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; the same ``seed`` gives the same initial state in any process."""
        super().reset(seed=seed)
        if seed is not None:
            self._environment.task.random.seed(seed)
        self._environment.reset()
        self._steps = 0
        return self.observation(), {}

    def substep(self, action: np.ndarray) -> float:
        return float(self._environment.step(self._action.to_units(action)).reward)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = sum(self.substep(action) for _ in range(self.substeps))
        self._steps += 1
        return self.observation(), reward, False, self._steps >= EPISODE_STEPS, {}

    def observation(self) -> np.ndarray:
        observation = self._environment.task.get_observation(self._environment.physics)
        return np.concatenate([np.ravel(part) for part in observation.values()]).astype(np.float32)

    def render(self, width: int = 480, height: int = 360) -> np.ndarray:
        """Return a picture ``[height, width, 3]``, uint8, from the model's first camera."""
        return self._environment.physics.render(height, width, camera_id=0)

    def close(self) -> None:
        self._environment.close()
