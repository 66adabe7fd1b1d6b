# SPDX-License-Identifier: Apache-2.0
"""Model predictive path integral control in latent space, as TD-MPC2 plans (arXiv 2310.16828)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pwm_core.evaluation.controllers.problem import Problem, estimate, policy_rollout
from pwm_core.evaluation.controllers.receding import RecedingHorizon
from pwm_core.evaluation.episodes import Act


@dataclass(frozen=True)
class MppiConfig:
    """TD-MPC2's settings; planning starts from the last plan, moved on by one decision."""

    horizon: int = 3
    """Planned decisions, with a terminal value behind them."""
    horizon_without_value: int = 16
    """Planned decisions where no terminal value is known."""
    samples: int = 512
    """Candidate plans per iteration."""
    iterations: int = 6
    many_actions: int = 20
    """From so many numbers per action on there are two more iterations."""
    elites: int = 64
    """Best candidates, from which mean and spread are taken."""
    policy_plans: int = 24
    """Candidates that the policy proposes, with its exploration noise."""
    min_std: float = 0.05
    max_std: float = 2.0
    """Spread of the candidates; the largest one is where each plan begins."""
    temperature: float = 0.5
    """Elites weigh ``exp(temperature · (estimate − best estimate))``."""

    def make(self, problem: Problem, seed: int) -> Act:
        """Return the controller of some episodes, side by side."""
        return RecedingHorizon(problem, self, self.steps(problem), seed)

    def steps(self, problem: Problem) -> int:
        """Return the horizon that fits ``problem``."""
        return self.horizon if problem.has_value else self.horizon_without_value

    def plan(
        self, problem: Problem, z: Tensor, last: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return (plan to go on from ``[H, E, A]``, actions ``[E, A]``) for ``z [E, latent]``."""
        std = torch.full_like(last, self.max_std)
        own = proposals(problem, z, len(last), self.policy_plans, generator)
        return refine(self, problem, z, last, std, own, generator)


def proposals(
    problem: Problem, z: Tensor, horizon: int, count: int, generator: torch.Generator
) -> Tensor:
    """Return ``count`` noisy plans ``[H, E, count, A]`` of the policy."""
    noise = torch.randn(horizon, len(z), count, problem.actions, generator=generator)
    return policy_rollout(problem, _per_candidate(z, count), noise)


def refine(
    config: MppiConfig,
    problem: Problem,
    z: Tensor,
    mean: Tensor,
    std: Tensor,
    fixed: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Improve ``mean [H, E, A]``; ``fixed [H, E, F, A]`` are candidates of every iteration.

    The action executed is that of an elite, drawn by its weight.
    """
    sampled = config.samples - fixed.shape[2]
    start = _per_candidate(z, config.samples)
    extra = 2 if problem.actions >= config.many_actions else 0
    for _ in range(config.iterations + extra):
        noise = torch.randn(*mean.shape[:2], sampled, mean.shape[2], generator=generator)
        drawn = (mean[:, :, None] + std[:, :, None] * noise).clamp(-1, 1)
        candidates = torch.cat([fixed, drawn], 2)
        value = estimate(problem, start, candidates).nan_to_num(0)
        elite_value, elites = best(value, candidates, config.elites)
        weight = elite_weights(elite_value, config.temperature)
        mean, std = weighted_moments(elites, weight)
        std = std.clamp(config.min_std, config.max_std)
    chosen = torch.multinomial(weight, 1, generator=generator)
    first = elites[0].gather(1, chosen[:, :, None].expand(-1, -1, elites.shape[-1]))
    return mean, first[:, 0].clamp(-1, 1)


def best(value: Tensor, candidates: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the ``count`` best of ``value [E, N]`` and ``candidates [H, E, N, A]``."""
    top = value.topk(count, dim=1)
    index = top.indices[None, :, :, None].expand(len(candidates), -1, -1, candidates.shape[-1])
    return top.values, candidates.gather(2, index)


def elite_weights(value: Tensor, temperature: float) -> Tensor:
    """Return weights ``[E, K]``, sum 1, of elites with ``value [E, K]``."""
    return torch.softmax(temperature * value, dim=1)


def weighted_moments(elites: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation ``[H, E, A]`` of ``elites [H, E, K, A]``."""
    w = weight[None, :, :, None]
    mean = (w * elites).sum(2)
    return mean, (w * (elites - mean[:, :, None]).square()).sum(2).sqrt()


def _per_candidate(z: Tensor, count: int) -> Tensor:
    """Return ``z [E, latent]`` for each of ``count`` candidates, ``[E, count, latent]``."""
    return z[:, None].expand(-1, count, -1)
