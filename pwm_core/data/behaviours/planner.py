# SPDX-License-Identifier: Apache-2.0
"""MPPI over spline knots: improve a plan by sampling others on the true dynamics.

Plans may be judged by longer simulator steps than the robot's, as MuJoCo MPC does (Howell et al.,
2022, arXiv 2212.00541).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pwm_core.tasks import Task, TrueDynamics

SHORTEST_WAVE, LONGEST_WAVE = 10, 60
"""Periods in decisions."""
WAVE_AMPLITUDE = 2.0
"""Clipped to 1, so that the wave stays long at its extremes."""


@dataclass(frozen=True)
class Planner:
    """How many plans of what kind are tried."""

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
    coarseness: int = 1
    """Simulator steps that are made as one while plans are judged; what is executed is exact."""

    @classmethod
    def of(cls, task: Task) -> Planner:
        """Return the planner that suits the task's body."""
        return PLANNERS.get(task.body, cls())

    def improve(
        self, dynamics: TrueDynamics, state: np.ndarray, plan: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Return the plan ``[E, H, A]`` after one MPPI step from ``state [E, S]``."""
        episodes, _, size = plan.shape
        shifted = np.concatenate(
            [plan[:, self.replan_every :], np.repeat(plan[:, -1:], self.replan_every, 1)], axis=1
        )
        candidates = np.clip(shifted[:, None] + self._deviations(rng, episodes, size), -1, 1)
        returns = dynamics.rollout(state, candidates).sum(-1)
        score = returns - returns.max(1, keepdims=True)
        weight = np.exp(score / (returns.std(1, keepdims=True) + 1e-9) / self.temperature)
        weight /= weight.sum(1, keepdims=True)
        # No reward in sight: the mean of the candidates would rest, any one of them goes looking.
        weight[np.ptp(returns, axis=1) == 0] = np.eye(self.samples)[1]
        return np.einsum("es,esha->eha", weight, candidates)

    def _deviations(self, rng: np.random.Generator, episodes: int, size: int) -> np.ndarray:
        """Return what the candidates add to the plan, ``[E, S, H, A]``."""
        knots = self.spread * rng.standard_normal((episodes, self.samples, self.knots, size))
        knots[:, 0] = 0  # the plan itself is always a candidate
        deviation = self._interpolate(knots)
        if self.waves:
            deviation[:, -self.waves :] = self._waves(rng, episodes, size)
        return deviation

    def _waves(self, rng: np.random.Generator, episodes: int, size: int) -> np.ndarray:
        """Return waves ``[E, W, H, A]`` with periods spread evenly over the octaves."""
        shape = (episodes, self.waves, 1, 1)
        period = np.exp(rng.uniform(np.log(SHORTEST_WAVE), np.log(LONGEST_WAVE), shape))
        phase = rng.uniform(0, 2 * np.pi, (episodes, self.waves, 1, size))
        time = np.arange(self.horizon)[:, None]
        return WAVE_AMPLITUDE * np.sin(2 * np.pi * time / period + phase)

    def _interpolate(self, knots: np.ndarray) -> np.ndarray:
        """Interpolate knots ``[E, S, K, A]`` linearly to ``[E, S, H, A]``."""
        place = np.linspace(0, self.knots - 1, self.horizon)
        left = np.minimum(place.astype(int), self.knots - 2)
        part = (place - left)[:, None]
        return knots[:, :, left] * (1 - part) + knots[:, :, left + 1] * part


PLANNERS = {
    # Hanging down, rewarded within 8 degrees of upright only, and the motor too weak to lift it:
    # splines find no reward in four seconds, one wave in a hundred does.
    "pendulum": Planner(horizon=100, knots=12, samples=32, waves=16),
    # A stride is short, so the horizon is too; the computing time goes into more candidates.
    "cheetah": Planner(horizon=24, samples=32),
    # A decision is 20 simulator steps, made for its contacts: by steps five times as long, twice as
    # many candidates find better plans in half the time (docs/performance.md).
    "walker": Planner(samples=32, coarseness=5),
    # Seven joints that obey within 0.1 s: half a second ahead, one turn of speed, small changes.
    "panda": Planner(horizon=12, knots=2, samples=24, spread=0.3),
}
"""Planners of bodies that the default does not suit."""
