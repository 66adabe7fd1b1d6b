# SPDX-License-Identifier: Apache-2.0
"""Train stable-baselines3's SAC on a task and keep what it did."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback

from pwm_core.data.behaviours.behaviour import Recorder, Trajectory
from pwm_core.progress import ProgressDisplay
from pwm_core.tasks import Task


class RecordedEnvironment(gymnasium.Env):
    """One world of the task that remembers its finished episodes."""

    def __init__(self, task: Task, seed: int) -> None:
        self._task = task
        self._worlds = task.make_vector(1, seed)
        self.finished: list[Trajectory] = []
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (task.observation.size,), np.float32
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (task.action.size,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start the next episode; the world was seeded when it was made."""
        self._record = Recorder(self._task, self._worlds.reset())
        return self._record.observation[0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        step = self._worlds.step(action[None])
        self._record.add(action[None], *step)
        if not self._record.running.any():
            self.finished += self._record.trajectories()
        reward, terminated, truncated = step.reward[0], step.terminated[0], step.truncated[0]
        return step.observation[0], float(reward), bool(terminated), bool(truncated), {}


class _UntilFinished(BaseCallback):
    """Ends the training when so many episodes are finished; shows the last one's return."""

    def __init__(
        self, environment: RecordedEnvironment, episodes: int, progress: ProgressDisplay
    ) -> None:
        super().__init__()
        self._environment, self._episodes, self._progress = environment, episodes, progress

    def _on_step(self) -> bool:
        finished = self._environment.finished
        if self.locals["dones"][0]:
            figures = {"return": f"{finished[-1].reward.sum():.4g}"}
            self._progress.update(len(finished), figures)
        return len(finished) < self._episodes


def untrained(task: Task, environment: RecordedEnvironment, seed: int) -> SAC:
    """Return SAC with its own settings and the task's discount."""
    return SAC("MlpPolicy", environment, gamma=task.discount, seed=seed, device="cpu")


def train(task: Task, episodes: int, seed: int) -> list[Trajectory]:
    """Return the first ``episodes`` of a training from scratch."""
    torch.set_num_threads(1)  # data must not depend on the number of cores
    environment = RecordedEnvironment(task, seed)
    agent = untrained(task, environment, seed)
    with ProgressDisplay(f"sac {task.name}", episodes, "episodes") as progress:
        until = _UntilFinished(environment, episodes, progress)
        agent.learn(episodes * task.episode_steps, until)
    return environment.finished
