# SPDX-License-Identifier: Apache-2.0
"""Sampling MPC on the true dynamics: good data for every task whose dynamics can be planned on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pwm_core.data.behaviours.behaviour import BehaviourError, Recorder, Trajectory
from pwm_core.data.behaviours.noise import exploration
from pwm_core.data.behaviours.planner import Planner
from pwm_core.tasks import SingleEnvironment, Task


@dataclass(frozen=True)
class SamplingMpc:
    """The planner's actions plus exploration noise on what is executed."""

    noise: float = 0.0
    """Standard deviation of the correlated noise added to the executed action."""
    planner: Planner | None = None
    """``None``: the one that suits the task's body."""
    block: ClassVar[int | None] = 2

    @property
    def name(self) -> str:
        return f"mpc-{self.noise:g}"

    def suits(self, task: Task) -> bool:
        return task.make_dynamics is not None

    def collect(self, task: Task, episodes: int, seed: int) -> list[Trajectory]:
        if task.make_dynamics is None:
            raise BehaviourError(
                f"{task.name} has no true dynamics to plan on: "
                "collect it with noise, an expert, a policy or sac"
            )
        planner = self.planner or Planner.of(task)
        rng = np.random.default_rng(seed)
        environments = [task.make_single(seed + i) for i in range(episodes)]
        first = np.stack([e.reset(seed=seed + i)[0] for i, e in enumerate(environments)])
        dynamics = task.make_dynamics(environments, 1, planner.coarseness)
        record = Recorder(task, first)
        plan = np.zeros((episodes, planner.horizon, task.action.size))
        disturbance = exploration(rng, task, episodes, self.noise)
        for decision in range(task.episode_steps):
            phase = decision % planner.replan_every
            if phase == 0:
                state = np.stack([e.state() for e in environments])
                plan = planner.improve(dynamics, state, plan, rng)
            action = np.clip(plan[:, phase] + disturbance[:, decision], -1, 1)
            _step(environments, action, record)
            if not record.running.any():
                break
        for environment in environments:
            environment.close()
        return record.trajectories()


def _step(environments: list[SingleEnvironment], action: np.ndarray, record: Recorder) -> None:
    """Apply ``action [N, A]`` where the episode still runs."""
    observation, reward = record.observation.copy(), np.zeros(len(environments))
    terminated, truncated, success = np.zeros((3, len(environments)), bool)
    for i in np.flatnonzero(record.running):
        outcome = environments[i].step(action[i])
        observation[i], reward[i], terminated[i], truncated[i], info = outcome
        success[i] = info.get("success", False)
    record.add(action, observation, reward, terminated, truncated, success)
