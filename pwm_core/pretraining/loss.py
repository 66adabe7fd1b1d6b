# SPDX-License-Identifier: Apache-2.0
"""The world model's loss on windows of offline data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pwm_core.data.sampler import Windows
from pwm_core.model.layer_gradients import learned_unroll
from pwm_core.model.world_model import WorldModel


@dataclass(frozen=True)
class LossWeights:
    """Weights of the world-model loss (algorithm notes; TD-MPC2)."""

    consistency: float = 20.0
    """Also that of the ensemble, which learns the same."""
    reward: float = 0.1
    rho: float = 0.99
    """Discount of later steps of the window."""
    termination: float = 1.0


@dataclass(frozen=True)
class WorldModelLoss:
    """Named parts of the loss, scalars; ``None`` where the model has no such head."""

    total: Tensor
    consistency: Tensor
    reward: Tensor
    termination: Tensor | None = None
    ensemble: Tensor | None = None

    def named(self) -> dict[str, Tensor]:
        """Return the parts there are, detached."""
        return {name: value.detach() for name, value in vars(self).items() if value is not None}


def unroll(model: WorldModel, z: Tensor, action: Tensor, embedding: Tensor) -> Tensor:
    """Return open-loop latents ``[horizon + 1, batch, latent]`` from ``z`` under ``action``."""
    if model.runs_by_hand(model.dynamics):
        inputs = torch.cat([action, embedding.expand(len(action), -1, -1)], -1)
        return torch.cat([z[None], learned_unroll(model.dynamics, z, inputs)])
    latents = [z]
    for a in action:
        latents.append(model.next(latents[-1], a, embedding))
    return torch.stack(latents)


def world_model_loss(
    model: WorldModel, windows: Windows, weights: LossWeights, shares: Tensor | None = None
) -> WorldModelLoss:
    """Latent consistency to the encoded future (no gradient into it) and reward cross-entropy.

    With a termination head also the binary cross-entropy of the latents reached; with several
    dynamics heads also :func:`ensemble_loss`, where ``shares [heads - 1, batch]`` says how much
    each window counts for each head (once without it). Every part is a mean over the windows; what
    lies behind a terminal state counts as zero.
    """
    horizon = windows.action.shape[0]
    embedding = model.embedding(windows.task)
    repeated = embedding.expand(horizon, -1, -1)
    with torch.no_grad():
        target = model.encode(windows.observation[1:], windows.task)
    z = model.encode(windows.observation[0], windows.task)
    latents = unroll(model, z, windows.action, embedding)
    rho = weights.rho ** torch.arange(horizon, device=z.device)
    decided = windows.decided.to(latents.dtype)
    error = (latents[1:] - target).mul_(decided[..., None])
    consistency = (error.square().mean((1, 2)) * rho).mean()
    logits = model.reward_logits(latents[:-1], windows.action, repeated)
    reward = ((model.two_hot.loss(logits, windows.reward) * decided).mean(1) * rho).mean()
    total = weights.consistency * consistency + weights.reward * reward
    termination = ensemble = None
    if model.config.termination:
        logit = model.termination_logit(latents[1:], repeated)
        entropy = functional.binary_cross_entropy_with_logits(
            logit, windows.terminal.to(logit.dtype), reduction="none"
        )
        termination = ((entropy * decided).mean(1) * rho).mean()
        total = total + weights.termination * termination
    if model.config.dynamics_heads > 1:
        inputs = torch.cat([latents[:-1], windows.action, repeated], -1).detach()
        counted = rho[:, None] * decided
        ensemble = ensemble_loss(model, inputs, target, counted, shares)
        total = total + weights.consistency * ensemble
    return WorldModelLoss(total, consistency, reward, termination, ensemble)


def ensemble_loss(
    model: WorldModel, inputs: Tensor, target: Tensor, counted: Tensor, shares: Tensor | None
) -> Tensor:
    """Return the mean squared error of the other dynamics heads, one step ahead.

    Decisions count by ``counted [horizon, batch]``.
    They start from the first head's latents (in ``inputs [horizon, batch, …]``, detached), where
    imagination will ask for their disagreement, and send no gradient into encoder or embeddings:
    the model itself learns as it would without them.
    """
    errors = torch.stack(
        [(model.through(head, inputs) - target).square().mean(-1) for head in model.other_dynamics]
    )
    if shares is not None:
        errors = errors * shares[:, None]
    return (errors * counted).mean()


def bootstrap_shares(heads: int, batch: int, seed: int, step: int) -> Tensor:
    """Return how often each window counts for each further head, ``[heads - 1, batch]``.

    Poisson(1) numbers are the bootstrap of data that arrives in batches (Oza & Russell, "Online
    bagging and boosting", 2001): no two heads learn from the same windows. A pure function of
    ``seed`` and ``step``, so that a resumed run draws the same.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    return torch.poisson(torch.ones(heads - 1, batch), generator)
