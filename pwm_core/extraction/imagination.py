# SPDX-License-Identifier: Apache-2.0
"""Whole episodes in the model alone."""

from __future__ import annotations

import torch
from torch import Tensor

from pwm_core.extraction.actor_critic import Actor
from pwm_core.model.world_model import WorldModel


@torch.no_grad()
def imagined_returns(
    model: WorldModel, actor: Actor, z: Tensor, embedding: Tensor, steps: int
) -> Tensor:
    """Return what ``actor``, without noise, earns in ``steps`` decisions from ``z [N, latent]``.

    The result is ``[N]``. A reward counts as much as the model believes that the episode goes on
    until then.
    """
    spare = model.action_mask.shape[-1] - actor.log_sigma.shape[0]
    total, alive = torch.zeros(2, len(z), device=z.device)
    alive += 1
    for _ in range(steps):
        action = torch.nn.functional.pad(actor(z), (0, spare))
        total += alive * model.reward(z, action, embedding)
        z = model.next(z, action, embedding)
        alive *= model.continues(z, embedding)
    return total
