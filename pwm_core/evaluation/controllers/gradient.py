# SPDX-License-Identifier: Apache-2.0
"""First-order planning: ascend the world model's gradient on the sequence of actions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pwm_core.evaluation.controllers.mppi import best
from pwm_core.evaluation.controllers.problem import Problem, estimate
from pwm_core.evaluation.controllers.receding import RecedingHorizon
from pwm_core.evaluation.episodes import Act

EDGE = 0.999
"""Largest action that a plan starts with: tanh has no gradient at 1."""


@dataclass(frozen=True)
class GradientConfig:
    """Adam on several plans at once, actions through tanh; no policy takes part in it."""

    horizon: int = 3
    """Planned decisions, with a terminal value behind them."""
    horizon_without_value: int = 16
    """Planned decisions where no terminal value is known."""
    starts: int = 16
    """Plans per episode: the last one, and others around it."""
    spread: float = 0.8
    """Standard deviation of the others around the last plan, before tanh."""
    updates: int = 20
    learning_rate: float = 0.1
    """Adam's, on actions before tanh."""

    def make(self, problem: Problem, seed: int) -> Act:
        """Return the controller of some episodes, side by side."""
        horizon = self.horizon if problem.has_value else self.horizon_without_value
        return RecedingHorizon(problem, self, horizon, seed)

    @torch.enable_grad()
    def plan(
        self, problem: Problem, z: Tensor, last: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return (plan ``[H, E, A]``, its first actions ``[E, A]``) for ``z [E, latent]``."""
        shape = *last.shape[:2], self.starts, last.shape[2]
        noise = self.spread * torch.randn(shape, generator=generator, dtype=z.dtype)
        noise[:, :, 0] = 0
        raw = (last.clamp(-EDGE, EDGE).atanh()[:, :, None] + noise).requires_grad_()
        start = z[:, None].expand(-1, self.starts, -1)
        optimizer = torch.optim.Adam([raw], self.learning_rate)
        for _ in range(self.updates):
            loss = -estimate(problem, start, raw.tanh()).sum()
            (raw.grad,) = torch.autograd.grad(loss, [raw])
            optimizer.step()
        with torch.no_grad():
            plans = raw.tanh()
            _, chosen = best(estimate(problem, start, plans), plans, 1)
        return chosen[:, :, 0], chosen[0, :, 0]
