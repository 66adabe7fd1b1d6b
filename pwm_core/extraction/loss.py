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
    reward: Tensor
    """``[horizon, batch]``"""


def imagine(
    model: WorldModel, actor: Actor, z: Tensor, embedding: Tensor, noise: Tensor
) -> Imagined:
    """Roll ``actor`` through the model from ``z [batch, latent]``; ``noise [horizon, batch, A]``.

    Padded action dimensions are zero, as they were in training.
    """
    latents, actions = [z], []
    padding = model.action_mask.shape[-1] - noise.shape[-1]
    for eps in noise:
        action = torch.nn.functional.pad(actor.sample(latents[-1], eps), (0, padding))
        actions.append(action)
        latents.append(model.next(latents[-1], action, embedding))
    latent = torch.stack(latents)
    repeated = embedding.expand(len(actions), -1, -1)
    reward = model.reward(latent[:-1], torch.stack(actions), repeated)
    return Imagined(latent, reward)


def actor_loss(imagined: Imagined, value: Tensor, discount: float) -> Tensor:
    """Return ``−mean( Σ_t γ^t r_t + γ^H V(z_H) )``; ``value [batch]`` is V(z_H)."""
    horizon = imagined.reward.shape[0]
    weight = discount ** torch.arange(horizon, device=value.device)
    objective = (weight[:, None] * imagined.reward).sum(0) + discount**horizon * value
    return -objective.mean()


def lambda_returns(reward: Tensor, value: Tensor, discount: float, lam: float) -> Tensor:
    """Return TD(lambda) targets ``[horizon, batch]`` for states 0 … H-1.

    ``value [horizon, batch]`` are the values of states 1 … H:
    ``G_t = r_t + γ ((1 − λ) V(z_{t+1}) + λ G_{t+1})``, with ``G_H = V(z_H)``.
    """
    target, targets = value[-1], []
    for r, v in zip(reward.flip(0), value.flip(0), strict=True):
        target = r + discount * ((1 - lam) * v + lam * target)
        targets.append(target)
    return torch.stack(targets[::-1])


def critic_loss(critics: Critics, z: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error on ``z [batch, latent]``, summed over the ensemble."""
    return (critics(z) - target).square().mean(1).sum()
