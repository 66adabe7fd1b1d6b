# SPDX-License-Identifier: Apache-2.0
"""Behaviour cloning: the baseline every extracted policy must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pwm_core.data.dataset import Dataset, Episode
from pwm_core.model.networks import mlp


@dataclass(frozen=True)
class CloningConfig:
    """How a clone is trained."""

    hidden: tuple[int, ...] = (256, 256)
    updates: int = 2000
    batch: int = 512
    learning_rate: float = 1e-3
    """Adam's, cosine decay."""
    seed: int = 0


class Clone(nn.Module):
    """Raw observation ``[batch, O]`` → action ``[batch, A]`` in [-1, 1]."""

    def __init__(
        self, mean: torch.Tensor, scale: torch.Tensor, hidden: Sequence[int], actions: int
    ):
        super().__init__()
        self.mean, self.scale = mean, scale
        self.network = mlp([len(mean), *hidden, actions])

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.network((observation - self.mean) / self.scale))


def best_tenth(episodes: Sequence[Episode]) -> list[Episode]:
    """Return the tenth of the episodes (at least one) with the highest returns."""
    count = max(1, round(len(episodes) / 10))
    return sorted(episodes, key=lambda episode: -episode.total_reward)[:count]


def clone(dataset: Dataset, episodes: Sequence[Episode], config: CloningConfig) -> Clone:
    """Regress the actions of ``episodes`` (all of one task) on their observations, MSE."""
    task = dataset.tasks[episodes[0].task]
    before = np.concatenate([np.arange(e.start, e.rows.stop - 1) for e in episodes])
    observation = torch.from_numpy(dataset.observation[before][:, : task.observation.size])
    action = torch.from_numpy(dataset.action[before + 1][:, : task.action.size])
    torch.manual_seed(config.seed)
    scale = observation.std(0).clamp(min=1e-3)
    policy = Clone(observation.mean(0), scale, config.hidden, task.action.size)
    optimizer = torch.optim.Adam(policy.parameters(), config.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.updates)
    for _ in range(config.updates):
        chosen = torch.randint(len(observation), (config.batch,))
        loss = (policy(observation[chosen]) - action[chosen]).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return policy.eval()
