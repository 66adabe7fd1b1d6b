# SPDX-License-Identifier: Apache-2.0
"""True dynamics where extraction expects a frozen world model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.model.layer_gradients import RULES, Gradients, Rule, Saved


class TrueWorld(FrozenModel, ABC):
    """A world whose latent is the observation itself; gradients are those of its dynamics."""

    line_name: str
    """What :meth:`line` varies."""
    line_ends: tuple[float, float] = -1.0, 1.0
    """What that is at places 0 and 1."""

    def __init__(self, observations: int, actions: int) -> None:
        self.latent, self.actions = observations, actions
        self.dynamics = nn.Sequential(Step(self))

    @abstractmethod
    def next(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return what ``observation [..., O]`` and ``action [..., A]`` lead to, differentiable."""

    @abstractmethod
    def earned(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return the reward ``[…]`` of taking ``action`` there, differentiable."""

    @abstractmethod
    def line(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return observations and the actions held from there for ``places [N]`` in [0, 1].

        The return over ``places`` is a cut through the landscape that a policy climbs.
        """

    def reward(self, pair: Tensor) -> Tensor:
        return self.earned(pair[..., : self.latent], pair[..., self.latent :])

    def continues(self, z: Tensor) -> Tensor:
        return z.new_ones(z.shape[:-1])


class Steps(Protocol):
    """What has a latent and goes on from it."""

    latent: int

    def next(self, z: Tensor, action: Tensor, /) -> Tensor:
        """Return what ``z [..., latent]`` and ``action [..., A]`` lead to, differentiable."""
        ...


class Step(nn.Module):
    """A world's ``next`` as the one layer of a network; the way back is autograd's."""

    def __init__(self, world: Steps) -> None:
        super().__init__()
        self._world = world

    def forward(self, pair: Tensor) -> Tensor:
        latent = self._world.latent
        return self._world.next(pair[..., :latent], pair[..., latent:])


class _StepRule(Rule):
    def forward(self, layer: Step, x: Tensor) -> tuple[Tensor, Saved]:
        with torch.enable_grad():
            pair = x.clone().requires_grad_()  # the rollout writes on in the memory of x
            reached = layer(pair)
        return reached.detach(), (pair, reached)

    def backward(
        self, layer: Step, saved: Saved, gradient: Tensor, learning: bool
    ) -> tuple[Tensor, Gradients]:
        pair, reached = saved
        return torch.autograd.grad(reached, pair, gradient)[0], []


RULES[Step] = _StepRule()


@torch.no_grad()
def true_returns(world: TrueWorld, policy: Any, observation: Tensor, steps: int) -> Tensor:
    """Return what ``policy`` earns in ``steps`` decisions from ``observation [N, O]``, ``[N]``."""
    total = torch.zeros(len(observation))
    for _ in range(steps):
        action = policy(observation)
        total += world.earned(observation, action)
        observation = world.next(observation, action)
    return total
