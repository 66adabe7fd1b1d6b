# SPDX-License-Identifier: Apache-2.0
"""The reward a policy is trained on, made from what the model imagines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.model.two_hot import symlog


@dataclass(frozen=True)
class TrainingReward:
    """Imagined reward, perhaps compressed, less a penalty for uncertainty, in units of values."""

    symlog: bool
    """Compress the reward."""
    scale: float
    """Reward that counts as one."""
    penalty: float
    """Reward taken off per unit of the dynamics heads' disagreement."""


def shaped(rewards: Sequence[TrainingReward], model: FrozenModel, pair: Tensor) -> Tensor:
    """Return what the tasks are trained on, ``[…, tasks, batch]``, a reward for each of them.

    ``pair [..., tasks, batch, latent + actions]`` are states and the actions taken there.
    """
    reward = model.reward(pair)
    if rewards[0].symlog:  # tasks side by side have one configuration
        reward = symlog(reward)
    if rewards[0].penalty:
        penalty = _column(tuple(task.penalty for task in rewards), reward.device, reward.dtype)
        reward = reward - penalty * model.disagreement(pair)
    return reward / _column(tuple(task.scale for task in rewards), reward.device, reward.dtype)


@cache  # a CUDA graph may go on reading them
def _column(numbers: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return ``numbers`` as ``[tasks, 1]``; they go to a device once, not at every iteration."""
    return torch.tensor(numbers, device=device, dtype=dtype)[:, None]


def training_reward(
    config: ExtractionConfig, rewards: np.ndarray, discount: float, disagreement: float
) -> TrainingReward:
    """Return the reward for a task whose data holds ``rewards [rows]``.

    A step costs ``uncertainty_penalty`` standard deviations of the rewards where the heads disagree
    as much as on the data, ``disagreement`` on average, so that one setting suits every task.
    """
    compressed = config.imagined_reward == "symlog"
    if compressed:
        rewards = symlog(torch.from_numpy(rewards)).numpy()
    scale = 1.0
    if config.scale_values:  # a typical return of one, so that critics' targets are of order one
        scale = float(max(np.abs(rewards).mean(), 1e-3) / (1 - discount))
    penalty = config.uncertainty_penalty
    if penalty:
        penalty *= float(max(rewards.std(), 1e-3)) / disagreement
    return TrainingReward(compressed, scale, penalty)
