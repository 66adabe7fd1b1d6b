# SPDX-License-Identifier: Apache-2.0
"""Extraction without the model's gradients: REINFORCE and PPO with the critics as a baseline.

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
        self._follow(pair, noise, target, discount, weight, generator)
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

    def _follow(
        self,
        pair: Tensor,
        noise: Tensor,
        target: Tensor,
        discount: Tensor,
        weight: Tensor,
        generator: torch.Generator,
    ) -> None:
        """Let the actor follow what was imagined; ``generator`` draws what is left to chance."""
        self._set_gradient(pair, noise, target, discount, weight)
        self.learner.step_actor()

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
        states = pair[:-1, :, : self.model.latent]
        advantage = survival(discount)[:-1] * self._advantage(states, target)
        likelihood = self._likelihood(states, self._taken(states, noise))
        self._clear_gradient()
        (weight * (advantage * likelihood).sum(0).mean()).backward()

    def _advantage(self, states: Tensor, target: Tensor) -> Tensor:
        """Return how much more than the critics say each action led to, ``[H, batch]``."""
        return target - self.learner.value(states)

    @torch.no_grad()
    def _taken(self, states: Tensor, noise: Tensor) -> Tensor:
        """Return what was chosen in ``states``, before the tanh."""
        return self.learner.actor.mean(states) + self.learner.actor.sigma() * noise

    def _likelihood(self, states: Tensor, taken: Tensor) -> Tensor:
        """Return the logarithm of the actor's density of ``taken``, up to a constant."""
        mean, sigma = self.learner.actor.mean(states), self.learner.actor.sigma()
        return (-0.5 * ((taken - mean) / sigma).square() - sigma.log()).sum(-1)

    def _clear_gradient(self) -> None:
        for parameter in self.learner.actor.parameters():
            parameter.grad = None


class ProximalPolicy(ScoreFunction):
    """PPO (arXiv 1707.06347): several steps by every batch, with the ratio of densities clipped.

    It takes the critics' passes and mini-batches; advantages are standardised over the states that
    are lived to see, and count as much as these are.
    """

    clip = 0.2
    """By how much the ratio may leave one before it earns no more."""

    def _follow(
        self,
        pair: Tensor,
        noise: Tensor,
        target: Tensor,
        discount: Tensor,
        weight: Tensor,
        generator: torch.Generator,
    ) -> None:
        learner, states = self.learner, pair[:-1, :, : self.model.latent]
        alive = survival(discount)[:-1]
        advantage = (alive * standardised(self._advantage(states, target), alive)).flatten()
        taken, states = self._taken(states, noise).flatten(0, 1), states.flatten(0, 1)
        with torch.no_grad():
            before = self._likelihood(states, taken)
        for order in learner.orders(len(states), generator):
            for rows in order.chunk(learner.config.critic_batches):
                ratio = (self._likelihood(states[rows], taken[rows]) - before[rows]).exp()
                bounded = ratio.clamp(1 - self.clip, 1 + self.clip)
                self._clear_gradient()
                (-torch.min(ratio * advantage[rows], bounded * advantage[rows]).mean()).backward()
                learner.step_actor()


def standardised(advantage: Tensor, weight: Tensor) -> Tensor:
    """Return ``advantage`` with mean zero and variance one where each counts by its ``weight``."""
    share = weight / weight.sum()
    centred = advantage - (share * advantage).sum()
    return centred / ((share * centred.square()).sum().sqrt() + 1e-8)
