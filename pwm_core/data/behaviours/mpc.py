# SPDX-License-Identifier: Apache-2.0
"""Sampling MPC on the true dynamics: good data for every task whose dynamics can be planned on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pwm_core.data.behaviours.behaviour import BehaviourError, Recorder, Trajectory
from pwm_core.data.behaviours.noise import exploration
from pwm_core.tasks import Task, TrueDynamics

WAVE_PERIODS = (10, 60)
"""Decisions."""
WAVE_AMPLITUDE = 2.0
"""Clipped to 1, so that the wave stays long at its extremes."""


@dataclass(frozen=True)
class SamplingMpc:
    """MPPI over spline knots on the true dynamics, plus exploration noise on what it executes."""

    noise: float = 0.0
    """Standard deviation of the correlated noise added to the executed action."""
    horizon: int = 40
    """Planned decisions."""
    knots: int = 6
    """Spline knots (linear interpolation) over the horizon."""
    samples: int = 16
    """Candidate plans per replanning."""
    spread: float = 0.5
    """Standard deviation of the candidates around the mean plan."""
    temperature: float = 0.1
    """Softmax temperature, in standard deviations of the candidates' returns."""
    replan_every: int = 2
    """Decisions executed from each plan."""
    waves: int = 0
    """How many of the candidates are waves of one random period each: a body with weak motors is
    swung up in its own rhythm."""
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
        rng = np.random.default_rng(seed)
        environments = [task.make_single(seed + i) for i in range(episodes)]
        first = np.stack([e.reset(seed=seed + i)[0] for i, e in enumerate(environments)])
        dynamics = task.make_dynamics(environments, 1)
        record = Recorder(task, first)
        plan = np.zeros((episodes, self.horizon, task.action.size))
        disturbance = exploration(rng, task, episodes, self.noise)
        for decision in range(task.episode_steps):
            phase = decision % self.replan_every
            if phase == 0:
                state = np.stack([e.state() for e in environments])
                plan = self._improve(dynamics, state, plan, rng)
            action = np.clip(plan[:, phase] + disturbance[:, decision], -1, 1)
            _step(environments, action, record)
            if not record.running.any():
                break
        for environment in environments:
            environment.close()
        return record.trajectories()

    def _improve(
        self, dynamics: TrueDynamics, state: np.ndarray, plan: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Return the plan ``[E, H, A]`` after one MPPI step from ``state [E, S]``."""
        episodes, _, size = plan.shape
        shifted = np.concatenate(
            [plan[:, self.replan_every :], np.repeat(plan[:, -1:], self.replan_every, 1)], axis=1
        )
        deviation = self.spread * rng.standard_normal((episodes, self.samples, self.knots, size))
        deviation[:, 0] = 0  # the plan itself is always a candidate
        deviation = self._interpolate(deviation)
        if self.waves:
            deviation[:, -self.waves :] = self._waves(rng, episodes, size)
        candidates = np.clip(shifted[:, None] + deviation, -1, 1)
        returns = dynamics.rollout(state, candidates).sum(-1)
        score = returns - returns.max(1, keepdims=True)
        weight = np.exp(score / (returns.std(1, keepdims=True) + 1e-9) / self.temperature)
        weight /= weight.sum(1, keepdims=True)
        # No reward in sight: the mean of the candidates would rest, any one of them goes looking.
        weight[np.ptp(returns, axis=1) == 0] = np.eye(self.samples)[1]
        return np.einsum("es,esha->eha", weight, candidates)

    def _waves(self, rng: np.random.Generator, episodes: int, size: int) -> np.ndarray:
        """Return waves ``[E, W, H, A]`` with periods spread evenly over the octaves."""
        shape = (episodes, self.waves, 1, 1)
        period = np.exp(rng.uniform(*np.log(WAVE_PERIODS), shape))
        phase = rng.uniform(0, 2 * np.pi, (episodes, self.waves, 1, size))
        return WAVE_AMPLITUDE * np.sin(
            2 * np.pi * np.arange(self.horizon)[:, None] / period + phase
        )

    def _interpolate(self, knots: np.ndarray) -> np.ndarray:
        """Interpolate knots ``[E, S, K, A]`` linearly to ``[E, S, H, A]``."""
        place = np.linspace(0, self.knots - 1, self.horizon)
        left = np.minimum(place.astype(int), self.knots - 2)
        part = (place - left)[:, None]
        return knots[:, :, left] * (1 - part) + knots[:, :, left + 1] * part


def _step(environments: list, action: np.ndarray, record: Recorder) -> None:
    """Apply ``action [N, A]`` where the episode still runs."""
    observation, reward = record.observation.copy(), np.zeros(len(environments))
    terminated, truncated, success = np.zeros((3, len(environments)), bool)
    for i in np.flatnonzero(record.running):
        outcome = environments[i].step(action[i])
        observation[i], reward[i], terminated[i], truncated[i], info = outcome
        success[i] = info.get("success", False)
    record.add(action, observation, reward, terminated, truncated, success)
