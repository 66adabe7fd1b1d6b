# SPDX-License-Identifier: Apache-2.0
"""What chooses the actions of offline data: noise, and sampling MPC on the true dynamics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pwm_core.tasks import Task, TrueDynamics


@dataclass(frozen=True)
class Rollouts:
    """Episodes side by side."""

    observation: np.ndarray
    """``[N, T + 1, O]``"""
    action: np.ndarray
    """``[N, T, A]`` in [-1, 1]."""
    reward: np.ndarray
    """``[N, T]``"""


class Behaviour(Protocol):
    """A way to act; ``collect`` is deterministic in ``seed``."""

    @property
    def name(self) -> str:
        """Name in the episode table."""
        ...

    def collect(self, task: Task, episodes: int, seed: int) -> Rollouts:
        """Run ``episodes`` whole episodes of ``task``."""
        ...


def _run_open_loop(task: Task, action: np.ndarray, seed: int) -> Rollouts:
    """Play ``action [N, T, A]`` in a vector of environments."""
    environment = task.make_vector(len(action), seed)
    observations, rewards = [environment.reset()], []
    for step in range(task.episode_steps):
        observation, reward, terminated, truncated, _ = environment.step(action[:, step])
        observations.append(observation)
        rewards.append(reward)
    if not (terminated | truncated).all():
        raise RuntimeError(
            f"{task.name}: episodes did not end after {task.episode_steps} decisions"
        )
    return Rollouts(np.stack(observations, 1), action, np.stack(rewards, 1))


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


@dataclass(frozen=True)
class Uniform:
    """Independent uniform actions."""

    name = "uniform"

    def collect(self, task: Task, episodes: int, seed: int) -> Rollouts:
        rng = np.random.default_rng(seed)
        action = rng.uniform(-1, 1, (episodes, task.episode_steps, task.action.size))
        return _run_open_loop(task, action, seed)


@dataclass(frozen=True)
class Correlated:
    """Slowly varying random actions, which travel further than independent ones."""

    correlation: float = 0.95
    """Correlation of neighbouring decisions."""
    name = "correlated"

    def collect(self, task: Task, episodes: int, seed: int) -> Rollouts:
        rng = np.random.default_rng(seed)
        shape = (episodes, task.episode_steps, task.action.size)
        action = np.clip(0.8 * correlated_noise(rng, shape, self.correlation), -1, 1)
        return _run_open_loop(task, action, seed)


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

    @property
    def name(self) -> str:
        return f"mpc-{self.noise:g}"

    def collect(self, task: Task, episodes: int, seed: int) -> Rollouts:
        rng = np.random.default_rng(seed)
        environments = [task.make_single(seed + i) for i in range(episodes)]
        observations = [np.stack([e.reset(seed=seed + i)[0] for i, e in enumerate(environments)])]
        dynamics = task.make_dynamics(environments, 1)
        plan = np.zeros((episodes, self.horizon, task.action.size))
        disturbance = self.noise * correlated_noise(
            rng, (episodes, task.episode_steps, task.action.size), 0.8
        )
        actions, rewards = [], []
        for step in range(task.episode_steps):
            phase = step % self.replan_every
            if phase == 0:
                state = np.stack([e.state() for e in environments])
                plan = self._improve(dynamics, state, plan, rng)
            action = np.clip(plan[:, phase] + disturbance[:, step], -1, 1)
            outcomes = [e.step(a) for e, a in zip(environments, action, strict=True)]
            observations.append(np.stack([o[0] for o in outcomes]))
            rewards.append([o[1] for o in outcomes])
            actions.append(action)
        for environment in environments:
            environment.close()
        return Rollouts(np.stack(observations, 1), np.stack(actions, 1), np.array(rewards).T)

    def _improve(
        self, dynamics: TrueDynamics, state: np.ndarray, plan: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Return the plan ``[E, H, A]`` after one MPPI step from ``state [E, S]``."""
        episodes, horizon, size = plan.shape
        shifted = np.concatenate(
            [plan[:, self.replan_every :], np.repeat(plan[:, -1:], self.replan_every, 1)], axis=1
        )
        deviation = self.spread * rng.standard_normal((episodes, self.samples, self.knots, size))
        deviation[:, 0] = 0  # the plan itself is always a candidate
        candidates = np.clip(shifted[:, None] + self._interpolate(deviation), -1, 1)
        score = dynamics.rollout(state, candidates).sum(-1)
        score = (score - score.max(1, keepdims=True)) / (score.std(1, keepdims=True) + 1e-9)
        weight = np.exp(score / self.temperature)
        weight /= weight.sum(1, keepdims=True)
        return np.einsum("es,esha->eha", weight, candidates)

    def _interpolate(self, knots: np.ndarray) -> np.ndarray:
        """Interpolate knots ``[E, S, K, A]`` linearly to ``[E, S, H, A]``."""
        place = np.linspace(0, self.knots - 1, self.horizon)
        left = np.minimum(place.astype(int), self.knots - 2)
        part = (place - left)[:, None]
        return knots[:, :, left] * (1 - part) + knots[:, :, left + 1] * part
