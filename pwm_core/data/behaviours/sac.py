# SPDX-License-Identifier: Apache-2.0
"""Soft actor-critic from scratch: every episode of its training, from random to good."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

from pwm_core.data.behaviours.behaviour import BehaviourError, Trajectory
from pwm_core.tasks import Task


@dataclass(frozen=True)
class SoftActorCritic:
    """stable-baselines3's SAC with its own settings and the task's discount.

    A training is one job: interrupted, it starts again and comes to the same episodes. A longer one
    begins with the episodes of a shorter one.
    """

    name = "sac"
    block: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if find_spec("stable_baselines3") is None:
            raise BehaviourError(
                "sac needs stable-baselines3: run make setup, or pip install '.[sac]' in a clone"
            )

    def suits(self, task: Task) -> bool:
        return True

    def collect(self, task: Task, episodes: int, seed: int) -> list[Trajectory]:
        from pwm_core.data.behaviours.sac_training import train  # needs torch, and the extra

        return train(task, episodes, seed)
