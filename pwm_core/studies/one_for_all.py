# SPDX-License-Identifier: Apache-2.0
"""One actor and one ensemble of critics for all tasks of a world model.

Extraction as it is gives every task its own. Here the tasks become one world, whose latent ends in
the task's embedding, and ``extraction.learner`` learns in it as in any other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pwm_core.extraction.actor_critic import Actor
from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.layer_gradients import frozen
from pwm_core.extraction.learner import Learner
from pwm_core.extraction.reward import TrainingReward
from pwm_core.extraction.runner import Extraction
from pwm_core.extraction.together import Together
from pwm_core.studies.extracting import encoded, start_latents
from pwm_core.studies.true_world import Step


class AllTasks(FrozenModel):
    """The tasks of ``extractions``, all of one world model, as one world.

    A batch holds equal blocks of rows, one for each task in order. What else differs from task to
    task becomes part of the world: padded actions do nothing, rewards count in units of the task's
    typical return, and a shorter discount is a smaller chance that the episode goes on.
    """

    def __init__(self, extractions: Sequence[Extraction]) -> None:
        model, learners = extractions[0].model, [each.learner for each in extractions]
        tasks = torch.tensor([each.index for each in extractions], device=extractions[0].device)
        self._apart = FrozenModel(model, tasks.tolist())
        self._embedding = model.embedding(tasks).detach().unsqueeze(1)
        self._mask = model.action_mask[tasks].unsqueeze(1)
        self.discount = max(learner.discount for learner in learners)
        """Of the task that looks furthest ahead."""
        each = self._mask.new_tensor([(one.reward.scale, one.discount) for one in learners])
        self._scale, self._discount = each[:, :1], each[:, 1:]
        self.latent = self._apart.latent + self._embedding.shape[-1]
        self.actions = self._apart.actions
        self.dynamics = nn.Sequential(Step(self))

    def told(self, z: Tensor) -> Tensor:
        """Return latents ``[rows, latent]`` of the model with the embeddings of their tasks."""
        blocks = self._blocks(z)
        embedding = self._embedding.expand(*blocks.shape[:-1], -1)
        return torch.cat([blocks, embedding], -1).flatten(-3, -2)

    def next(self, z: Tensor, action: Tensor, /) -> Tensor:
        """Return what ``z [..., rows, latent]`` and ``action [..., rows, A]`` lead to."""
        pair = self._of_model(torch.cat([z, action], -1))
        return self.told(frozen(self._apart.dynamics, pair).flatten(-3, -2))

    def reward(self, pair: Tensor) -> Tensor:
        return (self._apart.reward(self._of_model(pair)) / self._scale).flatten(-2)

    def continues(self, z: Tensor) -> Tensor:
        known = self._apart.continues(self._blocks(z)[..., : self._apart.latent])
        return (known * (self._discount / self.discount)).flatten(-2)

    def _of_model(self, pair: Tensor) -> Tensor:
        """Return pairs ``[..., rows, width]`` as the model takes them, ``[..., tasks, batch, …]``.

        Embeddings are part of its networks there.
        """
        blocks = self._blocks(pair)
        action = blocks[..., self.latent :] * self._mask
        return torch.cat([blocks[..., : self._apart.latent], action], -1)

    def _blocks(self, rows: Tensor) -> Tensor:
        return rows.unflatten(-2, (len(self._mask), -1))


class ToldActor(nn.Module):
    """The shared actor on the raw observations of one task."""

    def __init__(self, extraction: Extraction, actor: Actor) -> None:
        super().__init__()
        self._extraction, self._actor = extraction, actor

    def forward(self, observation: Tensor) -> Tensor:
        """Return the task's actions ``[batch, A]``, without noise."""
        e = self._extraction
        z = encoded(e, observation)
        task = torch.full((len(z),), e.index, device=e.device)
        action = self._actor(torch.cat([z, e.model.embedding(task)], -1))
        return action[:, : e.info.action.size]


def new_learner(world: AllTasks, config: ExtractionConfig, device: torch.device) -> Learner:
    """Return an untrained learner of all tasks; the world has scaled their rewards."""
    reward = TrainingReward(symlog=False, scale=1.0, penalty=0.0)
    return Learner(world.latent, world.actions, world.discount, reward, config, device)


def learn_all(extractions: Sequence[Extraction]) -> Learner:
    """Return a learner of all tasks after as many iterations as one task's own run has.

    ``extractions`` say where each task's rollouts start and in which units it counts: every task
    has the batches of its own run. What they learn themselves is left alone.
    """
    first = extractions[0]
    world = AllTasks(extractions)
    learner = new_learner(world, first.config, first.device)
    together = Together(world, [learner])
    for iteration in range(first.config.iterations):
        for extraction in extractions:
            extraction.iteration = iteration
        z = torch.cat([start_latents(extraction) for extraction in extractions])
        together.update(world.told(z)[None], [iteration])
    return learner
