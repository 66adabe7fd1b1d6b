# SPDX-License-Identifier: Apache-2.0
"""Whole episodes in the real simulator; episode ``seed`` is the same world in the whole stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pwm_core.tasks import Task

Act = Callable[[np.ndarray], np.ndarray]
"""``act(observation [N, O]) -> action [N, A]`` in [-1, 1]."""


@dataclass(frozen=True)
class Episodes:
    """Results of evaluation episodes."""

    returns: np.ndarray
    """``[N]`` sums of rewards."""
    observation: np.ndarray
    """``[T + 1, N, O]``; an episode that has ended keeps its last observation."""
    lengths: np.ndarray
    """``[N]`` decisions."""
    terminated: np.ndarray
    """``[N]`` bool: ended in a terminal state."""
    success: np.ndarray | None
    """``[N]`` bool: solved at the episode's last decision, as TD-MPC2 and PWM count it; ``None``
    where the task does not report success."""


def run_episodes(task: Task, act: Act, seeds: Sequence[int]) -> Episodes:
    """Run one episode per seed, side by side; each starts from ``reset(seed=…)``.

    All decisions of a moment are made in one call of ``act``.
    """
    environments = [task.make_single(seed) for seed in seeds]
    try:
        seen = [np.stack([e.reset(seed=s)[0] for e, s in zip(environments, seeds, strict=True)])]
        returns, lengths = np.zeros(len(seeds)), np.zeros(len(seeds), int)
        running = np.ones(len(seeds), bool)
        ended, success = np.zeros(len(seeds), bool), np.zeros(len(seeds), bool)
        while running.any() and len(seen) <= task.episode_steps:
            action = act(seen[-1])
            observation = seen[-1].copy()
            for i in np.flatnonzero(running):
                observation[i], reward, ended[i], truncated, info = environments[i].step(action[i])
                returns[i] += reward
                lengths[i] += 1
                success[i] = info.get("success", False)
                running[i] = not (ended[i] or truncated)
            seen.append(observation)
        solved = success if task.reports_success else None
        return Episodes(returns, np.stack(seen), lengths, ended, solved)
    finally:
        for environment in environments:
            environment.close()


def deterministic(policy: nn.Module, device: torch.device | str = "cpu") -> Act:
    """Return ``policy`` as a function of numpy observations."""

    @torch.inference_mode()
    def act(observation: np.ndarray) -> np.ndarray:
        return policy(torch.from_numpy(observation).to(device)).cpu().numpy()

    return act


def uniform_random(task: Task, seed: int) -> Act:
    """Return the policy that draws every action uniformly."""
    rng = np.random.default_rng(seed)

    def act(observation: np.ndarray) -> np.ndarray:
        return rng.uniform(-1, 1, (len(observation), task.action.size))

    return act
