# SPDX-License-Identifier: Apache-2.0
"""What a planner needs of a world model: latents, one imagined decision, and a terminal value."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from pwm_core.evaluation.controllers.value import Value
from pwm_core.extraction.actor_critic import Actor
from pwm_core.model.world_model import WorldModel


class Imagined(NamedTuple):
    """What one imagined decision leads to; ``…`` are candidates of episodes."""

    z: Tensor
    """Next latents ``[…, latent]``."""
    reward: Tensor
    """``[…]``"""
    continues: Tensor
    """``[…]`` probability that the episode goes on."""


class Problem(Protocol):
    """An episode as a planner sees it."""

    actions: int
    """Numbers per action."""
    discount: float
    """Per decision."""

    @property
    def has_value(self) -> bool:
        """Whether there is a terminal value."""
        ...

    def encode(self, observation: Tensor) -> Tensor:
        """Return latents ``[E, latent]`` of observations ``[E, O]``."""
        ...

    def imagine(self, z: Tensor, action: Tensor) -> Imagined:
        """Return what ``action […, A]`` leads to."""
        ...

    def value(self, z: Tensor) -> Tensor:
        """Return the discounted return ``[…]`` expected from ``z […, latent]`` on."""
        ...

    def propose(self, z: Tensor, noise: Tensor) -> Tensor:
        """Return the policy's actions ``[…, A]``; ``noise`` is standard normal, or zero."""
        ...


def estimate(problem: Problem, z: Tensor, actions: Tensor) -> Tensor:
    """Return the discounted return ``[…]`` of plans ``[H, …, A]`` from ``z […, latent]``.

    The terminal value enters where there is one. Differentiable in ``actions``.
    """
    total = torch.zeros(actions.shape[1:-1], dtype=z.dtype, device=z.device)
    weight = torch.ones_like(total)
    for action in actions:
        z, reward, continues = problem.imagine(z, action)
        total = total + weight * reward
        weight = weight * problem.discount * continues
    return total + weight * problem.value(z) if problem.has_value else total


def policy_rollout(problem: Problem, z: Tensor, noise: Tensor) -> Tensor:
    """Return the plans ``[H, …, A]`` of the policy from ``z``; ``noise [H, …, A]``."""
    actions = []
    for eps in noise:
        actions.append(problem.propose(z, eps))
        z = problem.imagine(z, actions[-1]).z
    return torch.stack(actions)


class WorldModelProblem:
    """One task in a world model, with its extracted actor and, where it was kept, its critics."""

    def __init__(
        self,
        model: WorldModel,
        task: int,
        actions: int,
        discount: float,
        actor: Actor,
        value: Value | None,
    ) -> None:
        self.actions, self.discount = actions, discount
        self._model, self._task, self._actor, self._value = model, task, actor, value
        self._padding = model.action_mask.shape[-1] - actions
        self._embedding = model.embedding(torch.tensor(task)).detach()

    @property
    def has_value(self) -> bool:
        return self._value is not None

    def encode(self, observation: Tensor) -> Tensor:
        missing = self._model.observation_mean.shape[1] - observation.shape[-1]
        task = torch.full((len(observation),), self._task)
        return self._model.encode(functional.pad(observation, (0, missing)), task)

    def imagine(self, z: Tensor, action: Tensor) -> Imagined:
        flat = z.flatten(0, -2)
        padded = functional.pad(action, (0, self._padding)).flatten(0, -2)
        embedding = self._embedding.expand(len(flat), -1)
        following = self._model.next(flat, padded, embedding)
        reward = self._model.reward(flat, padded, embedding)
        continues = self._model.continues(following, embedding)
        shape = action.shape[:-1]
        return Imagined(following.view(z.shape), reward.view(shape), continues.view(shape))

    def value(self, z: Tensor) -> Tensor:
        assert self._value is not None, "callers ask has_value"
        return self._value(z.flatten(0, -2)).view(z.shape[:-1])

    def propose(self, z: Tensor, noise: Tensor) -> Tensor:
        return self._actor.sample(z, noise)
