# SPDX-License-Identifier: Apache-2.0
"""Extraction without the model's gradients: REINFORCE with the critics as a baseline.

The same imagined rollouts, critics, optimisers and schedule as ``extraction.together``; only the
actor's gradient is the likelihood ratio's instead of the model's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.learner import Learner
from pwm_core.extraction.loss import lambda_returns, objectives, survival
from pwm_core.extraction.reward import shaped
from pwm_core.extraction.rollout import Rollout
from pwm_core.extraction.stacked_actors import StackedActors


class ScoreFunction:
    """One learner of one world."""

    def __init__(self, model: FrozenModel, learner: Learner) -> None:
        self.model, self.learner = model, learner
        self._actors = StackedActors([learner.actor])

    def update(self, z: Tensor, iteration: int) -> None:
        """Run one iteration from ``z [batch, latent]``."""
        learner = self.learner
        generator = learner.generator(iteration)
        noise = learner.noise(len(z), generator)
        pair, reward, value, discount = self._imagine(z, noise)
        target = lambda_returns(reward, value, discount, learner.config.lam)
        earned = objectives(
            reward, discount / learner.discount, value[-1], learner.discount, len(reward)
        )
        learner.schedule(iteration)
        weight = -1 / learner.spread.divisor(earned)
        self._set_gradient(pair, noise, target, discount, weight)
        learner.step_actor()
        learner.spread.observe(target, first=iteration == 0)
        states = pair[:-1, :, : self.model.latent]
        orders = learner.orders(target.numel(), generator)
        learner.fit_critics(states.flatten(0, 1), target.flatten(), orders)

    def ascend(self, z: Tensor, noise: Tensor) -> Tensor:
        """Return the flat gradient of the actor's mean objective, to which nothing is done.

        ``z [batch, latent]``, ``noise [horizon, batch, A]``. Without bias: returns are summed to
        the horizon (lambda 1), as ``Together.ascend`` differentiates them.
        """
        pair, reward, value, discount = self._imagine(z, noise)
        target = lambda_returns(reward, value, discount, 1.0)
        self._set_gradient(pair, noise, target, discount, torch.tensor(1.0))
        return self.learner.actor_gradient()

    @torch.no_grad()
    def _imagine(self, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return pairs ``[H + 1, batch, …]``, rewards, values of states 1 … H and discounts."""
        rollout = Rollout(self.model, self._actors, z[None], noise[:, None])
        pair = rollout.pair.detach()
        reached = pair[1:, ..., : self.model.latent]
        reward = shaped([self.learner.reward], self.model, pair[:-1])[:, 0]
        discount = self.learner.discount * self.model.continues(reached)[:, 0]
        return pair[:, 0], reward, self.learner.value(reached)[:, 0], discount

    def _set_gradient(
        self, pair: Tensor, noise: Tensor, target: Tensor, discount: Tensor, weight: Tensor
    ) -> None:
        """Set the actor's gradients of ``weight`` times what led to returns ``target`` is worth."""
        actor, states = self.learner.actor, pair[:-1, :, : self.model.latent]
        advantage = survival(discount)[:-1] * (target - self.learner.value(states))
        mean, sigma = actor.mean(states), actor.sigma()
        taken = (mean + sigma * noise).detach()
        likelihood = -0.5 * ((taken - mean) / sigma).square() - sigma.log()
        for parameter in actor.parameters():
            parameter.grad = None
        (weight * (advantage * likelihood.sum(-1)).sum(0).mean()).backward()
