# SPDX-License-Identifier: Apache-2.0
"""A task's scripted expert, disturbed by noise: demonstrations from perfect to poor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pwm_core.data.behaviours.behaviour import BehaviourError, Trajectory, play
from pwm_core.data.behaviours.noise import exploration
from pwm_core.tasks import Task


@dataclass(frozen=True)
class ScriptedExpert:
    """The task's own expert plus correlated noise on what it executes."""

    noise: float = 0.0
    """Standard deviation of the noise; actions are in [-1, 1]."""
    block: ClassVar[int | None] = 10

    @property
    def name(self) -> str:
        return f"expert-{self.noise:g}"

    def suits(self, task: Task) -> bool:
        return task.make_expert is not None

    def collect(self, task: Task, episodes: int, seed: int) -> list[Trajectory]:
        if task.make_expert is None:
            raise BehaviourError(
                f"{task.name} has no scripted expert: collect it with noise, mpc, a policy or sac"
            )
        expert = task.make_expert()
        disturbance = exploration(np.random.default_rng(seed), task, episodes, self.noise)
        return play(
            task, lambda decision, seen: expert(seen) + disturbance[:, decision], episodes, seed
        )
