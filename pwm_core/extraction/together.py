# SPDX-License-Identifier: Apache-2.0
"""One iteration of extraction, of one task or of several that imagine side by side.

Each task's actor steps through the frozen model, then its critics fit what was imagined. Nothing
passes from task to task; the model's matrix products are shared.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.layer_gradients import frozen
from pwm_core.extraction.learner import Learner
from pwm_core.extraction.loss import lambda_returns, objectives
from pwm_core.extraction.reward import shaped
from pwm_core.extraction.rollout import Rollout
from pwm_core.extraction.stacked_actors import StackedActors

Figures = dict[str, Tensor]


class Together:
    """Learners of several tasks of one world model, with the same configuration."""

    def __init__(self, model: FrozenModel, learners: Sequence[Learner]) -> None:
        """``learners[i]`` learns task ``i`` of those that ``model`` was frozen for."""
        self.learners = learners
        self._config = learners[0].config
        self._model = model
        self._actors = StackedActors([learner.actor for learner in learners])
        discounts = [[learner.discount] for learner in learners]
        self._discount = torch.tensor(discounts, device=learners[0].device)

    def update(self, z: Tensor, iterations: Sequence[int]) -> list[Figures]:
        """Run each task's iteration from ``z [tasks, batch, latent]``; return their figures."""
        noise, orders = self.prepare(z.shape[1], iterations)
        return self.step(z, noise, orders, [iteration == 0 for iteration in iterations])

    def prepare(self, batch: int, iterations: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Set the learning rates of the tasks' iterations; return all that these leave to chance.

        That is the actors' noise ``[horizon, tasks, batch, A]`` and the critics' orders
        ``[tasks, passes, states]``.
        """
        noise, orders = [], []
        for learner, iteration in zip(self.learners, iterations, strict=True):
            learner.schedule(iteration)
            generator = learner.generator(iteration)
            noise.append(learner.noise(batch, generator))
            orders.append(learner.orders(self._config.horizon * batch, generator))
        return self._stacked(noise), torch.stack(orders)

    def step(
        self, z: Tensor, noise: Tensor, orders: Tensor, first: Sequence[bool]
    ) -> list[Figures]:
        """Do what :meth:`prepare` has drawn; return the tasks' figures.

        ``first`` says which tasks have seen no iteration before. Nothing here waits for the device
        or sends anything to it, so that ``extraction.iterations`` can record it.
        """
        rollout, reward, continues, objective = self._imagine(z, noise)
        loss = -objective.mean(1)
        rollout.backward(self._divided(loss, objective.detach()).sum())
        norms = [learner.step_actor() for learner in self.learners]
        latent, reward, continues = rollout.latent.detach(), reward.detach(), continues.detach()
        target = self._targets(latent[1:], reward, continues)
        figures = []
        for i, learner in enumerate(self.learners):
            learner.spread.observe(target[:, i], first=first[i])
            states = latent[:-1, i].flatten(0, 1), target[:, i].flatten()
            figures.append(
                {
                    "loss/actor": loss[i].detach(),
                    "loss/critic": learner.fit_critics(*states, orders[i]),
                    "gradient_norm/actor": norms[i],
                    "sigma": learner.actor.sigma().detach().mean(),
                }
            )
        return figures

    def ascend(self, z: Tensor, noise: Tensor) -> list[Tensor]:
        """Return the flat gradient of each actor's mean objective, to which nothing is done.

        ``z [tasks, batch, latent]``, ``noise [horizon, tasks, batch, A]``.
        """
        rollout, _, _, objective = self._imagine(z, noise)
        rollout.backward(objective.mean(1).sum())
        return [learner.actor_gradient() for learner in self.learners]

    def _stacked(self, noise: Sequence[Tensor]) -> Tensor:
        """Return ``[horizon, tasks, batch, A]``, zero where a task has fewer actions."""
        widest = self._actors.actions
        return torch.stack([functional.pad(n, (0, widest - n.shape[-1])) for n in noise], 1)

    def _imagine(self, z: Tensor, noise: Tensor) -> tuple[Rollout, Tensor, Tensor, Tensor]:
        """Return the rollout, rewards and continuations ``[H, tasks, batch]``, objectives."""
        config = self._config
        rollout = Rollout(self._model, self._actors, z, noise, config.detach_actor)
        rewards = [learner.reward for learner in self.learners]
        reward = shaped(rewards, self._model, rollout.pair[:-1])
        continues = self._model.continues(rollout.latent[1:])
        last = zip(self.learners, rollout.latent[-1], strict=True)
        value = torch.stack([_least(learner, latent) for learner, latent in last])
        bootstrap = config.horizon + (config.bootstrap == "H+1")
        objective = objectives(reward, continues, value, self._discount, bootstrap)
        return rollout, reward, continues, objective

    def _divided(self, loss: Tensor, objective: Tensor) -> Tensor:
        """Return ``loss [tasks]`` over each task's own spread."""
        each = zip(self.learners, objective, strict=True)
        return loss / torch.stack([learner.spread.divisor(earned) for learner, earned in each])

    @torch.no_grad()
    def _targets(self, latent: Tensor, reward: Tensor, continues: Tensor) -> Tensor:
        """Return TD(lambda) targets ``[horizon, tasks, batch]`` for what led to ``latent``."""
        each = zip(self.learners, latent.unbind(1), strict=True)
        value = torch.stack([learner.value(reached) for learner, reached in each], 1)
        return lambda_returns(reward, value, self._discount * continues, self._config.lam)


def _least(learner: Learner, z: Tensor) -> Tensor:
    """Return the least of the critics' values ``[batch]`` of ``z [batch, latent]``."""
    critics = learner.critics
    return frozen(critics.network, z.expand(critics.members, *z.shape)).squeeze(-1).min(0).values
