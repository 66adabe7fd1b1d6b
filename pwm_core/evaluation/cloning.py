# SPDX-License-Identifier: Apache-2.0
"""Behaviour cloning: the baseline every extracted policy must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pwm_core.data.dataset import Dataset, Episode, TaskInfo
from pwm_core.model.networks import mlp

SCALE_ROWS = 50_000
"""Observations from which a task's normalisation is taken."""


@dataclass(frozen=True)
class CloningConfig:
    """How clones are trained: mean squared error on actions, Adam, cosine decay."""

    hidden: tuple[int, ...] = (256, 256)
    """Hidden layers."""
    updates: int = 2000
    """Updates of a clone of one task."""
    multi_task_updates: int = 12_000
    """Most updates of the one network over all tasks; fewer tasks take ``updates`` each."""
    batch: int = 512
    """Decisions per update."""
    learning_rate: float = 1e-3
    seed: int = 0
    """Training seed."""


class Clone(nn.Module):
    """Raw observation ``[batch, O]`` → action ``[batch, A]`` in [-1, 1]."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, hidden: Sequence[int], actions: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.network = mlp([len(mean), *hidden, actions])

    def forward(self, observation: Tensor) -> Tensor:
        return torch.tanh(self.network((observation - self.mean) / self.scale))


class MultiTaskClone(nn.Module):
    """One network over all tasks: normalised, padded observation and the task as one-hot."""

    mean: Tensor
    scale: Tensor

    def __init__(self, tasks: Sequence[TaskInfo], hidden: Sequence[int]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        observations = max(task.observation.size for task in tasks)
        actions = max(task.action.size for task in tasks)
        self.register_buffer("mean", torch.zeros(len(tasks), observations))
        self.register_buffer("scale", torch.ones(len(tasks), observations))
        self.network = mlp([observations + len(tasks), *hidden, actions])

    def forward(self, observation: Tensor, task: Tensor) -> Tensor:
        """Return padded actions of padded ``observation [batch, O]``; ``task [batch]`` indices."""
        normal = (observation - self.mean[task]) / self.scale[task]
        which = nn.functional.one_hot(task, len(self.tasks)).to(normal.dtype)
        return torch.tanh(self.network(torch.cat([normal, which], -1)))

    def of_task(self, name: str) -> TaskOfClone:
        """Return the network as a policy of one task."""
        return TaskOfClone(self, [task.name for task in self.tasks].index(name))


class TaskOfClone(nn.Module):
    """A multi-task clone on the raw observations of one task."""

    def __init__(self, clone: MultiTaskClone, index: int) -> None:
        super().__init__()
        self.clone, self.index = clone, index

    def forward(self, observation: Tensor) -> Tensor:
        padding = self.clone.mean.shape[1] - observation.shape[1]
        padded = nn.functional.pad(observation, (0, padding))
        task = torch.full((len(observation),), self.index, device=observation.device)
        return self.clone(padded, task)[:, : self.clone.tasks[self.index].action.size]


def best_tenth(episodes: Sequence[Episode]) -> list[Episode]:
    """Return the tenth of the episodes (at least one) with the highest returns."""
    count = max(1, round(len(episodes) / 10))
    return sorted(episodes, key=lambda episode: -episode.total_reward)[:count]


def clone(dataset: Dataset, episodes: Sequence[Episode], config: CloningConfig) -> Clone:
    """Regress the actions of ``episodes`` (all of one task) on their observations.

    Memory is one index per decision: rows are read from the dataset as they are drawn.
    """
    task = dataset.tasks[episodes[0].task]
    before = _decisions(episodes)
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    mean, scale = _normalisation(dataset, task, before, rng)
    policy = Clone(mean, scale, config.hidden, task.action.size)
    trainer = _Trainer(policy, config.updates, config.learning_rate)
    for _ in range(config.updates):
        rows = np.sort(rng.choice(before, config.batch))
        observation = torch.from_numpy(dataset.observation[rows][:, : task.observation.size])
        action = torch.from_numpy(dataset.action[rows + 1][:, : task.action.size])
        trainer.step((policy(observation) - action).square().mean())
    return policy.eval()


def clone_all_tasks(dataset: Dataset, config: CloningConfig) -> MultiTaskClone:
    """Regress the actions of all tasks with one network; every task has the same share."""
    tasks = list(dataset.tasks.values())
    before = [_decisions(dataset.of_task(task.name)) for task in tasks]
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    policy = MultiTaskClone(tasks, config.hidden)
    every, count = np.concatenate(before), np.array([len(rows) for rows in before])
    first = np.cumsum(count) - count
    real = torch.zeros(len(tasks), dataset.widths[1])
    for index, task in enumerate(tasks):
        mean, scale = _normalisation(dataset, task, before[index], rng)
        policy.mean[index, : len(mean)], policy.scale[index, : len(scale)] = mean, scale
        real[index, : task.action.size] = 1 / task.action.size  # every task weighs the same
    updates = min(config.updates * len(tasks), config.multi_task_updates)
    trainer = _Trainer(policy, updates, config.learning_rate)
    for _ in range(updates):
        chosen = rng.integers(len(tasks), size=config.batch)
        rows = every[first[chosen] + rng.integers(count[chosen])]
        task_index = torch.from_numpy(chosen)
        observation = torch.from_numpy(dataset.observation[rows])
        error = policy(observation, task_index) - torch.from_numpy(dataset.action[rows + 1])
        trainer.step((error.square() * real[task_index]).sum(-1).mean())
    return policy.eval()


class _Trainer:
    """Adam with cosine decay."""

    def __init__(self, policy: nn.Module, updates: int, learning_rate: float) -> None:
        self._optimizer = torch.optim.Adam(policy.parameters(), learning_rate, fused=True)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, updates)

    def step(self, loss: Tensor) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._schedule.step()


def _decisions(episodes: Sequence[Episode]) -> np.ndarray:
    """Return the rows whose observation a decision was made on; its action is in the next row."""
    return np.concatenate([np.arange(e.start, e.rows.stop - 1) for e in episodes])


def _normalisation(
    dataset: Dataset, task: TaskInfo, rows: np.ndarray, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return mean and scale ``[O]`` of a task's observations."""
    some = rows if len(rows) <= SCALE_ROWS else rng.choice(rows, SCALE_ROWS, replace=False)
    observation = torch.from_numpy(dataset.observation[some][:, : task.observation.size])
    return observation.mean(0), observation.std(0).clamp(min=1e-3)


def weights(policy: nn.Module) -> Mapping[str, np.ndarray]:
    """Return a network's numbers, to be sent to another process."""
    return {name: tensor.numpy() for name, tensor in policy.state_dict().items()}
