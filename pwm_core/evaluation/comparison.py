# SPDX-License-Identifier: Apache-2.0
"""A policy beside random, its data, and clones of its data: returns with confidence intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pwm_core.data.dataset import Dataset
from pwm_core.evaluation.cloning import CloningConfig, best_tenth, clone
from pwm_core.evaluation.episodes import deterministic, run_episodes, uniform_random
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.tasks import get_task


@dataclass(frozen=True)
class Score:
    """Returns of one controller on one task."""

    task: str
    controller: str
    returns: tuple[float, ...]
    seeds: tuple[int, ...]
    """Seeds of the episodes; empty for what lies in the data."""
    policy: str | None = None
    """SHA-256 of the policy's file; ``None`` for baselines."""

    @property
    def mean(self) -> float:
        return float(np.mean(self.returns))

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % percentile-bootstrap interval of the mean; ``None`` for a single figure."""
        if len(self.returns) < 2:
            return None
        data = np.array(self.returns)
        if np.ptp(data) == 0:
            return float(data[0]), float(data[0])
        found = stats.bootstrap((data,), np.mean, method="percentile", rng=np.random.default_rng(0))
        return float(found.confidence_interval.low), float(found.confidence_interval.high)


def score_policy(trained: TrainedPolicy, seeds: Sequence[int], digest: str) -> Score:
    """Run one real episode per seed; ``digest`` is the SHA-256 of the policy's file."""
    task = get_task(trained.task.name)
    episodes = run_episodes(task, deterministic(trained.policy), seeds)
    returns = tuple(episodes.returns.tolist())
    return Score(task.name, "extracted policy", returns, tuple(seeds), digest)


def score_baselines(
    dataset: Dataset, name: str, seeds: Sequence[int], config: CloningConfig
) -> Iterator[Score]:
    """Yield random, the data's mean and best episode, and clones of all and of the best tenth."""
    task, episodes, seeds = get_task(name), dataset.of_task(name), tuple(seeds)
    random = run_episodes(task, uniform_random(task, 0), seeds)
    yield Score(name, "random", tuple(random.returns.tolist()), seeds)
    returns = tuple(episode.total_reward for episode in episodes)
    yield Score(name, "data, mean", returns, ())
    yield Score(name, "data, best episode", (max(returns),), ())
    for label, chosen in (("all data", episodes), ("best tenth", best_tenth(episodes))):
        cloned = deterministic(clone(dataset, chosen, config))
        result = run_episodes(task, cloned, seeds)
        yield Score(name, f"cloning, {label}", tuple(result.returns.tolist()), seeds)
