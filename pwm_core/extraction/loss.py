# SPDX-License-Identifier: Apache-2.0
"""The maths of extraction: imagined rollouts, the actor's objective, TD(lambda) targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pwm_core.extraction.actor_critic import Actor, Critics
from pwm_core.model.world_model import WorldModel


@dataclass(frozen=True)
class Imagined:
    """A rollout in latent space, time first."""

    latent: Tensor
    """``[horizon + 1, batch, latent]``"""
    action: Tensor
    """``[horizon, batch, A]``, padded to the model's width."""
    reward: Tensor
    """``[horizon, batch]``"""
    continues: Tensor
    """``[horizon, batch]``: probability that the episode goes on after the step."""


def imagine(
    model: WorldModel,
    actor: Actor,
    z: Tensor,
    embedding: Tensor,
    noise: Tensor,
    detach: bool = False,
) -> Imagined:
    """Roll ``actor`` through the model from ``z [batch, latent]``; ``noise [horizon, batch, A]``.

    Padded action dimensions are zero, as they were in training. With ``detach`` no gradient flows
    from an action into the latent it was chosen in.
    """
    latents, actions = [z], []
    padding = model.action_mask.shape[-1] - noise.shape[-1]
    for eps in noise:
        seen = latents[-1].detach() if detach else latents[-1]
        action = torch.nn.functional.pad(actor.sample(seen, eps), (0, padding))
        actions.append(action)
        latents.append(model.next(latents[-1], action, embedding))
    latent, action = torch.stack(latents), torch.stack(actions)
    repeated = embedding.expand(len(actions), -1, -1)
    reward = model.reward(latent[:-1], action, repeated)
    return Imagined(latent, action, reward, model.continues(latent[1:], repeated))


def survival(continues: Tensor) -> Tensor:
    """Return the probability ``[horizon + 1, batch]`` that the episode still goes on at state t."""
    return torch.cat([torch.ones_like(continues[:1]), continues.cumprod(0)])


def objectives(
    reward: Tensor, continues: Tensor, value: Tensor, discount: float, bootstrap: int
) -> Tensor:
    """Return ``Σ_t γ^t p_t r_t + γ^bootstrap p_H V(z_H)`` of each rollout, ``[batch]``.

    ``reward [horizon, batch]``, ``value [batch]`` is V(z_H), ``p_t`` the :func:`survival` of
    ``continues [horizon, batch]``; ``bootstrap`` is the horizon H (H + 1 in the released code).
    """
    weight = discount ** torch.arange(len(reward), device=value.device)
    alive = survival(continues)
    return (weight[:, None] * alive[:-1] * reward).sum(0) + discount**bootstrap * alive[-1] * value


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
