# SPDX-License-Identifier: Apache-2.0
"""The cross-entropy method: an evolutionary search that refits a Gaussian to its best plans."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pwm_core.evaluation.controllers.mppi import best
from pwm_core.evaluation.controllers.problem import Problem, estimate
from pwm_core.evaluation.controllers.receding import RecedingHorizon
from pwm_core.evaluation.episodes import Act


@dataclass(frozen=True)
class CemConfig:
    """As PETS plans (arXiv 1805.12114); no policy takes part in it."""

    horizon: int = 3
    """Planned decisions, with a terminal value behind them."""
    horizon_without_value: int = 16
    """Planned decisions where no terminal value is known."""
    samples: int = 512
    """Candidate plans per generation."""
    generations: int = 6
    elites: int = 64
    """Best candidates, to which the Gaussian is fitted."""
    inertia: float = 0.1
    """Share of the last generation's mean and spread that stays."""
    min_std: float = 0.05
    max_std: float = 1.0
    """Spread of the candidates; the largest one is where each plan begins."""

    def make(self, problem: Problem, seed: int) -> Act:
        """Return the controller of some episodes, side by side."""
        horizon = self.horizon if problem.has_value else self.horizon_without_value
        return RecedingHorizon(problem, self, horizon, seed)

    def plan(
        self, problem: Problem, z: Tensor, last: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return (plan ``[H, E, A]``, its first actions ``[E, A]``) for ``z [E, latent]``."""
        mean, std = last, torch.full_like(last, self.max_std)
        start = z[:, None].expand(-1, self.samples, -1)
        for _ in range(self.generations):
            shape = *mean.shape[:2], self.samples, mean.shape[2]
            noise = torch.randn(shape, generator=generator, dtype=z.dtype)
            drawn = (mean[:, :, None] + std[:, :, None] * noise).clamp(-1, 1)
            value = estimate(problem, start, drawn).nan_to_num(-torch.inf)
            _, elites = best(value, drawn, self.elites)
            mean = elites.mean(2).lerp(mean, self.inertia)
            std = elites.std(2, correction=0).lerp(std, self.inertia)
            std = std.clamp(self.min_std, self.max_std)
        return mean, mean[0].clamp(-1, 1)
