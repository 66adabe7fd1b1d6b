# SPDX-License-Identifier: Apache-2.0
"""Random actions, independent or correlated in time: what any task can be explored with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pwm_core.data.behaviours.behaviour import Trajectory, play
from pwm_core.tasks import Task

EXPLORATION_CORRELATION = 0.8
"""Correlation of neighbouring decisions in the noise added to a controller's actions."""


def correlated_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], correlation: float
) -> np.ndarray:
    """Return a stationary AR(1) process ``[N, T, A]`` of unit variance along the second axis."""
    white = rng.standard_normal(shape)
    noise = np.empty(shape)
    noise[:, 0] = white[:, 0]
    for step in range(1, shape[1]):
        fresh = np.sqrt(1 - correlation**2) * white[:, step]
        noise[:, step] = correlation * noise[:, step - 1] + fresh
    return noise


def exploration(
    rng: np.random.Generator, task: Task, episodes: int, deviation: float
) -> np.ndarray:
    """Return noise ``[N, T, A]`` of standard ``deviation`` to disturb a controller with."""
    shape = (episodes, task.episode_steps, task.action.size)
    return deviation * correlated_noise(rng, shape, EXPLORATION_CORRELATION)


@dataclass(frozen=True)
class Uniform:
    """Independent uniform actions."""

    name = "uniform"
    block: ClassVar[int | None] = 2

    def suits(self, task: Task) -> bool:
        return True

    def collect(self, task: Task, episodes: int, seed: int) -> list[Trajectory]:
        rng = np.random.default_rng(seed)
        action = rng.uniform(-1, 1, (episodes, task.episode_steps, task.action.size))
        return play(task, lambda decision, _: action[:, decision], episodes, seed)


@dataclass(frozen=True)
class Correlated:
    """Slowly varying random actions, which travel further than independent ones."""

    correlation: float = 0.95
    """Correlation of neighbouring decisions."""
    name = "correlated"
    block: ClassVar[int | None] = 2

    def suits(self, task: Task) -> bool:
        return True

    def collect(self, task: Task, episodes: int, seed: int) -> list[Trajectory]:
        rng = np.random.default_rng(seed)
        shape = (episodes, task.episode_steps, task.action.size)
        action = 0.8 * correlated_noise(rng, shape, self.correlation)
        return play(task, lambda decision, _: action[:, decision], episodes, seed)
