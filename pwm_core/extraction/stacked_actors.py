# SPDX-License-Identifier: Apache-2.0
"""Actors of several tasks, evaluated and differentiated together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pwm_core.extraction.actor_critic import Actor, StackedLinear, StackedNorm
from pwm_core.extraction.layer_gradients import Visit, settle
from pwm_core.model.networks import Mish


class StackedActors:
    """``actors`` whose weights lie side by side in one stack; each goes on seeing its own part.

    The last layer is as wide as the widest, with zeros where an actor has fewer actions. Its
    noise must be zero there, so that those actions are.
    """

    @torch.no_grad()
    def __init__(self, actors: Sequence[Actor]) -> None:
        """Move the parameters of ``actors`` into the stack."""
        self._own: list[Sequence[nn.Parameter]] = []
        columns = zip(*(actor.mean for actor in actors), strict=True)
        self.network = nn.Sequential(*(self._stacked(column) for column in columns))
        self.log_sigma = self._stack([actor.log_sigma for actor in actors])
        self._floor = actors[0].log_floor

    def _stacked(self, column: Sequence[nn.Module]) -> nn.Module:
        """Return the layer that stands for ``column``, the same layer of all actors."""
        first = column[0]
        if isinstance(first, Mish):
            return first
        weight = self._stack([layer.get_parameter("weight") for layer in column])
        bias = self._stack([layer.get_parameter("bias") for layer in column])
        return (
            StackedLinear(weight, bias)
            if isinstance(first, nn.Linear)
            else StackedNorm(weight, bias)
        )

    def _stack(self, own: Sequence[nn.Parameter]) -> nn.Parameter:
        """Return ``own`` as ``[actors, in, out]`` or ``[actors, 1, out]``, and share its memory."""
        widest = max(len(parameter) for parameter in own)
        rows = [(0, 0) * (p.dim() - 1) + (0, widest - len(p)) for p in own]
        stack = torch.stack([functional.pad(p.data, pad) for p, pad in zip(own, rows, strict=True)])
        for parameter, memory in zip(own, stack, strict=True):
            parameter.data = memory[: len(parameter)]
        self._own.append(own)
        return nn.Parameter(stack.mT if stack.dim() == 3 else stack.unsqueeze(1))

    @property
    def actions(self) -> int:
        """Actions of the widest actor."""
        return self.log_sigma.shape[-1]

    def sigma(self) -> Tensor:
        """Return the exploration scales ``[actors, 1, A]``."""
        return self.log_sigma.clamp(min=self._floor).exp()

    def settle(self, visits: Sequence[Visit], noise: Tensor, gradient: Tensor) -> None:
        """Set all actors' gradients for ``visits`` of the network.

        ``gradient [visits, actors, batch, A]`` is that of the mean plus sigma times ``noise``.
        """
        sigma = (gradient * noise).sum((0, 2)).unsqueeze(1) * self.sigma()
        sigma *= self.log_sigma >= self._floor
        for own, found in zip(self._own, [*settle(visits), sigma], strict=True):
            for parameter, part in zip(own, found, strict=True):
                part = part.mT if parameter.dim() == 2 else part[0]
                parameter.grad = part[: len(parameter)].contiguous()
