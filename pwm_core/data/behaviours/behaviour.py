# SPDX-License-Identifier: Apache-2.0
"""What every source of data has in common: whole episodes of a task, from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from pwm_core.errors import PwmError
from pwm_core.tasks import Task
from pwm_core.tasks.task import VectorEnvironment

Choose = Callable[[int, np.ndarray], np.ndarray]
"""``choose(decision, observation [N, O]) -> action [N, A]`` in [-1, 1]."""


class BehaviourError(PwmError):
    """A behaviour cannot act on the task, or lacks what it needs."""


@dataclass(frozen=True)
class Trajectory:
    """One episode of ``T`` decisions."""

    observation: np.ndarray
    """``[T + 1, O]``"""
    action: np.ndarray
    """``[T, A]`` in [-1, 1]."""
    reward: np.ndarray
    """``[T]``"""
    terminated: bool
    """Whether the last observation is of a terminal state."""
    success: bool | None
    """Whether the task was solved at the last decision; ``None`` where the task does not say."""


class Behaviour(Protocol):
    """A way to act; frozen and small, since it travels to worker processes."""

    block: ClassVar[int | None]
    """Episodes collected side by side, which share a seed; ``None``: all that are asked for."""

    @property
    def name(self) -> str:
        """Name in the episode table; two behaviours that act differently differ in it."""
        ...

    def suits(self, task: Task) -> bool:
        """Return whether the behaviour can act on ``task``."""
        ...

    def collect(self, task: Task, episodes: int, seed: int) -> list[Trajectory]:
        """Run ``episodes`` whole episodes of ``task``; the result depends on nothing else."""
        ...


def play(task: Task, choose: Choose, episodes: int, seed: int) -> list[Trajectory]:
    """Run ``episodes`` side by side in a vector of environments, each to its own end."""
    return play_in(task.make_vector(episodes, seed), task, choose)


def play_in(environment: VectorEnvironment, task: Task, choose: Choose) -> list[Trajectory]:
    """Run the next episode in each of the environments of ``task``, to its own end."""
    record = Recorder(task, environment.reset())
    for decision in range(task.episode_steps):
        action = np.clip(choose(decision, record.observation), -1, 1)
        step = environment.step(action)
        record.add(action, *step)
        if not record.running.any():
            return record.trajectories()
    raise RuntimeError(f"{task.name}: episodes did not end after {task.episode_steps} decisions")


class Recorder:
    """Turns the decisions of episodes side by side into one trajectory each."""

    def __init__(self, task: Task, observation: np.ndarray) -> None:
        """Begin with the first ``observation [N, O]``."""
        self._task = task
        self._observations = [observation]
        self._actions: list[np.ndarray] = []
        self._rewards: list[np.ndarray] = []
        self._lengths = np.zeros(len(observation), int)
        self._terminated = np.zeros(len(observation), bool)
        self._success = np.zeros(len(observation), bool)
        self.running = np.ones(len(observation), bool)
        """``[N]`` bool: which episodes have not ended."""

    @property
    def observation(self) -> np.ndarray:
        """The latest observation ``[N, O]``."""
        return self._observations[-1]

    def add(
        self,
        action: np.ndarray,
        observation: np.ndarray,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        success: np.ndarray,
    ) -> None:
        """Add a decision of all episodes; what is given for those that have ended is not kept."""
        self._actions.append(action)
        self._observations.append(observation)
        self._rewards.append(reward)
        self._lengths += self.running
        self._terminated[self.running] = terminated[self.running]
        self._success[self.running] = success[self.running]
        self.running = self.running & ~(terminated | truncated)

    def trajectories(self) -> list[Trajectory]:
        """Return the episodes."""
        observation = np.stack(self._observations, 1)
        action, reward = np.stack(self._actions, 1), np.stack(self._rewards, 1)
        return [
            Trajectory(
                observation[i, : length + 1],
                action[i, :length],
                reward[i, :length],
                bool(self._terminated[i]),
                bool(self._success[i]) if self._task.reports_success else None,
            )
            for i, length in enumerate(self._lengths)
        ]
