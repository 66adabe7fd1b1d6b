# SPDX-License-Identifier: Apache-2.0
"""The critics' loss and its gradient by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from pwm_core.extraction.actor_critic import Critics
from pwm_core.extraction.layer_gradients import Visit, settle


def critic_gradient(
    critics: Critics, z: Tensor, target: Tensor, compiled: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """Return ``loss.critic_loss`` of ``z [batch, latent]``, and the parameters' gradients."""
    run = _compiled() if compiled else loss_and_gradients
    return run(critics.network, z, target)


@torch.no_grad()
def loss_and_gradients(
    network: nn.Sequential, z: Tensor, target: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Return the loss of an ensemble's ``network``, and the gradients of its parameters."""
    visit = Visit(network)
    members = len(network[-1].get_parameter("bias"))
    error = visit.forward(z.expand(members, *z.shape)).squeeze(-1) - target
    visit.backward((error * (2 / error.shape[1])).unsqueeze(-1), inputs=False)
    return error.square().mean(1).sum(), settle([visit])


@cache  # to load the compiler takes seconds
def _compiled() -> Callable[..., tuple[Tensor, list[Tensor]]]:
    return torch.compile(loss_and_gradients, dynamic=False)
