# SPDX-License-Identifier: Apache-2.0
"""World-model losses and the figures that judge a model on held-out windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pwm_core.data.sampler import Windows
from pwm_core.model.world_model import WorldModel

Step = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LossWeights:
    """Weights of the world-model loss (algorithm notes; TD-MPC2)."""

    consistency: float = 20.0
    reward: float = 0.1
    rho: float = 0.99
    """Discount of later steps of the window."""


@dataclass(frozen=True)
class WorldModelLoss:
    """Named parts of the loss, scalars."""

    total: Tensor
    consistency: Tensor
    reward: Tensor


def unroll(model: WorldModel, z: Tensor, action: Tensor, embedding: Tensor) -> Tensor:
    """Return open-loop latents ``[horizon + 1, batch, latent]`` from ``z`` under ``action``."""
    latents = [z]
    for a in action:
        latents.append(model.next(latents[-1], a, embedding))
    return torch.stack(latents)


def world_model_loss(model: WorldModel, windows: Windows, weights: LossWeights) -> WorldModelLoss:
    """Latent consistency to the encoded future (no gradient into it) and reward cross-entropy."""
    horizon = windows.action.shape[0]
    embedding = model.embedding(windows.task)
    with torch.no_grad():
        target = model.encode(windows.observation[1:], windows.task)
    z = model.encode(windows.observation[0], windows.task)
    latents = unroll(model, z, windows.action, embedding)
    rho = weights.rho ** torch.arange(horizon, device=z.device)
    consistency = ((latents[1:] - target).square().mean((1, 2)) * rho).mean()
    logits = model.reward_logits(latents[:-1], windows.action, embedding.expand(horizon, -1, -1))
    reward = (model.two_hot.loss(logits, windows.reward).mean(1) * rho).mean()
    total = weights.consistency * consistency + weights.reward * reward
    return WorldModelLoss(total, consistency, reward)


@dataclass(frozen=True)
class ModelQuality:
    """Open-loop errors on held-out windows, each relative to the variance of what is predicted."""

    reward_error: float
    """Mean squared reward error over the horizon / variance of the rewards."""
    latent_error: tuple[float, ...]
    """Mean squared latent error after 1, 2, … steps / variance of the encoded latents."""


@torch.no_grad()
def judge(model: WorldModel, windows: Windows) -> ModelQuality:
    """Predict ``windows`` open loop from their first observation and return the errors."""
    horizon = windows.action.shape[0]
    embedding = model.embedding(windows.task)
    encoded = model.encode(windows.observation, windows.task)
    latents = unroll(model, encoded[0], windows.action, embedding)
    predicted = model.reward(latents[:-1], windows.action, embedding.expand(horizon, -1, -1))
    reward_error = (predicted - windows.reward).square().mean() / windows.reward.var()
    spread = (encoded - encoded.mean((0, 1))).square().mean()
    latent_error = (latents[1:] - encoded[1:]).square().mean((1, 2)) / spread
    return ModelQuality(reward_error.item(), tuple(latent_error.tolist()))
