# SPDX-License-Identifier: Apache-2.0
"""Rewards that a robot recorded, held against the old model where the old data knows better."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pwm_core.data.dataset import Dataset
from pwm_core.model.store import TrainedWorldModel

REFERENCE = 4000
"""Decisions of the old data, at most, that say where it knows the rewards; as many others tell
how near to these it is itself."""
NEAR = 0.9
"""A decision is known when it is as near to the reference as this share of those others."""
TOGETHER = 1000
"""Decisions whose distances are computed at once."""


@dataclass(frozen=True)
class Agreement:
    """How recorded rewards agree with the old model's where the old data lies near."""

    error: float
    """Mean squared difference / variance of the old data's rewards; not a number where nothing can
    be said: nothing is known, or the old rewards are all the same."""
    known: int
    """Decisions that the old data lies near to."""
    decisions: int
    """Decisions recorded."""


@dataclass(frozen=True)
class _Decisions:
    """Rows of a dataset at which something was decided, and what came of it."""

    observation: Tensor
    action: Tensor
    reward: Tensor

    @classmethod
    def of(cls, dataset: Dataset, rows: np.ndarray) -> _Decisions:
        (task,) = dataset.tasks.values()
        observation = dataset.observation[rows][:, : task.observation.size]
        action = dataset.action[rows + 1][:, : task.action.size]
        return cls(*map(torch.from_numpy, (observation, action, dataset.reward[rows + 1])))

    def places(self, mean: Tensor, scale: Tensor) -> Tensor:
        """Return ``[N, O + A]``: normalised observations and actions."""
        return torch.cat([(self.observation - mean) / scale, self.action], 1)


@torch.no_grad()
def agreement(old: TrainedWorldModel, online: Dataset, offline: Dataset, seed: int) -> Agreement:
    """Hold all rewards of ``online`` against ``old``, which knows the one task of both datasets.

    A reward of ``online`` that is wrong where ``offline`` has been near shows; a wrong reward of
    states and actions that only ``online`` has does not.
    """
    rows = np.random.default_rng(seed).permutation(_decided(offline))
    half = len(rows) // 2  # apart: a decision is no measure of how near others are to itself
    reference, others = (
        _Decisions.of(offline, some[:REFERENCE]) for some in (rows[:half], rows[half:])
    )
    recorded = _Decisions.of(online, _decided(online))
    model = old.model
    normal = model.observation_mean[0], model.observation_scale[0]
    near = reference.places(*normal)
    radius = _nearest(others.places(*normal), near).quantile(NEAR)
    known = _nearest(recorded.places(*normal), near) <= radius
    task = torch.zeros(len(recorded.reward), dtype=torch.long)
    z = model.encode(recorded.observation, task)
    expected = model.reward(z, recorded.action, model.embedding(task))
    difference = (expected - recorded.reward)[known].square()
    variance = others.reward.var()
    error = float(difference.mean() / variance) if known.any() and variance > 0 else math.nan
    return Agreement(error, int(known.sum()), len(recorded.reward))


def _decided(dataset: Dataset) -> np.ndarray:
    """Return the rows at which something was decided: all but the last of each episode."""
    episodes = dataset.episodes
    return np.concatenate([np.arange(e.start, e.start + e.length) for e in episodes])


def _nearest(places: Tensor, near: Tensor) -> Tensor:
    """Return the distance ``[N]`` of each of ``places [N, D]`` to the nearest of ``near``."""
    return torch.cat([torch.cdist(some, near).amin(1) for some in places.split(TOGETHER)])
