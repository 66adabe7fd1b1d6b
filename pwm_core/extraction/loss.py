# SPDX-License-Identifier: Apache-2.0
"""The maths of extraction: the actor's objective, TD(lambda) targets, the critics' loss.

Time comes first; ``batch`` stands for any number of dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pwm_core.extraction.actor_critic import Critics


def survival(continues: Tensor) -> Tensor:
    """Return the probability ``[horizon + 1, batch]`` that the episode still goes on at state t."""
    return torch.cat([torch.ones_like(continues[:1]), continues.cumprod(0)])


def objectives(
    reward: Tensor, continues: Tensor, value: Tensor, discount: float | Tensor, bootstrap: int
) -> Tensor:
    """Return ``Σ_t γ^t p_t r_t + γ^bootstrap p_H V(z_H)`` of each rollout, ``[batch]``.

    ``reward [horizon, batch]``, ``value [batch]`` is V(z_H), ``p_t`` the :func:`survival` of
    ``continues [horizon, batch]``; ``bootstrap`` is the horizon H (H + 1 in the released code).
    A ``discount`` that is not the same for all broadcasts to ``value``.
    """
    steps = torch.arange(len(reward), device=value.device)
    weight = discount ** steps.view(-1, *[1] * value.dim())
    alive = survival(continues)
    return (weight * alive[:-1] * reward).sum(0) + discount**bootstrap * alive[-1] * value


def lambda_returns(reward: Tensor, value: Tensor, discount: Tensor, lam: float) -> Tensor:
    """Return TD(lambda) targets ``[horizon, batch]`` for states 0 … H-1.

    ``value [horizon, batch]`` are the values of states 1 … H, ``discount [horizon, batch]`` that
    on the way there, γ times the probability that the episode goes on:
    ``G_t = r_t + γ_t ((1 − λ) V(z_{t+1}) + λ G_{t+1})``, with ``G_H = V(z_H)``.
    """
    target, targets = value[-1], []
    for r, v, d in zip(reward.flip(0), value.flip(0), discount.flip(0), strict=True):
        target = r + d * ((1 - lam) * v + lam * target)
        targets.append(target)
    return torch.stack(targets[::-1])


def critic_loss(critics: Critics, z: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error on ``z [batch, latent]``, summed over the ensemble."""
    return (critics(z) - target).square().mean(1).sum()
