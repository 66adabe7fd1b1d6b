# SPDX-License-Identifier: Apache-2.0
"""One world of a robot, for the bridge, evaluation, video and planning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import mujoco
import numpy as np

from pwm_core.errors import PwmError
from pwm_core.tasks.readings import Readings, Reward
from pwm_core.tasks.robots.robot import Robot
from pwm_core.tasks.stability import diverged
from pwm_core.tasks.task import SingleEnvironment

Success = Callable[[Readings], np.ndarray]
"""Whether the task is solved ``[N]`` in these states."""


class DivergedError(PwmError, RuntimeError):
    """The physics became unstable; a reset starts anew."""


class RobotEnvironment(SingleEnvironment):
    """One robot under a task; a decision is one simulator step of several MuJoCo steps."""

    substeps = 1

    def __init__(
        self, robot: Robot, reward: Reward, success: Success, episode_steps: int, seed: int
    ) -> None:
        self._robot, self._reward, self._success = robot, reward, success
        self._episode_steps = episode_steps
        self.model = robot.compile()
        self.data = mujoco.MjData(self.model)
        self._mujoco_steps = round(robot.simulator_step / self.model.opt.timestep)
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (robot.observation.size,), np.float32
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (robot.action.size,), np.float32)
        self.reset(seed=seed)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; the same ``seed`` gives the same initial state in any process."""
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.data.ctrl[:] = self._robot.action.safe
        self._robot.begin(self.model, self.data, self.np_random)
        mujoco.mj_forward(self.model, self.data)
        self._steps = 0
        return self.observation(), {}

    def substep(self, action: np.ndarray) -> float:
        action = np.clip(np.asarray(action, np.float64), -1, 1)
        self.data.ctrl[:] = self._robot.action.to_units(action)
        mujoco.mj_step(self.model, self.data, self._mujoco_steps)
        if diverged(self.data):
            raise DivergedError(f"the physics of {self._robot.name} diverged")
        mujoco.mj_step1(self.model, self.data)  # sensors are those of the last step's start
        return float(self._reward(self._readings())[0])

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = self.substep(action)
        self._steps += 1
        success = bool(self._success(self._readings())[0])
        truncated = self._steps >= self._episode_steps
        return self.observation(), reward, False, truncated, {"success": success}

    def observation(self) -> np.ndarray:
        return self._robot.observe(self._readings())[0].astype(np.float32)

    def _readings(self) -> Readings:
        return Readings.of(self.model, self.data)
