# SPDX-License-Identifier: Apache-2.0
"""What is compared, as jobs that run in any process: baselines, policies, planners."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from pwm_core.data.dataset import Dataset
from pwm_core.errors import PwmError
from pwm_core.evaluation.cloning import (
    CloningConfig,
    MultiTaskClone,
    best_tenth,
    clone,
    clone_all_tasks,
    weights,
)
from pwm_core.evaluation.controllers import Planning
from pwm_core.evaluation.controllers.problem import WorldModelProblem
from pwm_core.evaluation.controllers.value import load_value
from pwm_core.evaluation.episodes import Act, deterministic, run_episodes, uniform_random
from pwm_core.evaluation.score import EXTRACTED, Score, episodes_score
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.files import sha256
from pwm_core.model.store import TrainedWorldModel
from pwm_core.tasks import get_task
from pwm_core.tasks.shift import NOMINAL, Shift

TIMED_DECISIONS = 100
UNTIMED_DECISIONS = 3
"""The first ones also pay for memory and caches."""


class Job(Protocol):
    """One controller on one task."""

    @property
    def task(self) -> str:
        """Name of the task."""
        ...

    def run(self) -> Score:
        """Run the episodes; the result depends on nothing but the job."""
        ...


@dataclass(frozen=True)
class Random:
    """Uniformly random actions."""

    task: str
    seeds: tuple[int, ...]
    shift: Shift = NOMINAL

    def run(self) -> Score:
        task = self.shift.of(get_task(self.task))
        episodes = run_episodes(task, uniform_random(task, 0), self.seeds)
        return episodes_score(self.task, "random", episodes, seeds=self.seeds)


@dataclass(frozen=True)
class Cloning:
    """A clone of the task's data, or of the best tenth of its episodes."""

    task: str
    data: Path
    tenth: bool
    seeds: tuple[int, ...]
    config: CloningConfig
    shift: Shift = NOMINAL

    def run(self) -> Score:
        dataset = Dataset(self.data)
        episodes = dataset.of_task(self.task)
        chosen = best_tenth(episodes) if self.tenth else episodes
        act = deterministic(clone(dataset, chosen, self.config))
        return episodes_score(
            self.task,
            "cloning, best tenth" if self.tenth else "cloning, all data",
            run_episodes(self.shift.of(get_task(self.task)), act, self.seeds),
            seeds=self.seeds,
            training_seed=self.config.seed,
            settings=asdict(self.config) | {"cloned_episodes": len(chosen)},
        )


@dataclass(frozen=True)
class MultiTaskTraining:
    """The training of one clone over all tasks of a dataset."""

    data: Path
    config: CloningConfig

    def run(self) -> Mapping[str, np.ndarray]:
        """Return the trained network's numbers."""
        return weights(clone_all_tasks(Dataset(self.data), self.config))


@dataclass(frozen=True)
class MultiTaskCloning:
    """The clone over all tasks, on one of them."""

    task: str
    data: Path
    trained: Mapping[str, np.ndarray]
    seeds: tuple[int, ...]
    config: CloningConfig
    shift: Shift = NOMINAL

    def run(self) -> Score:
        tasks = list(Dataset(self.data).tasks.values())
        network = MultiTaskClone(tasks, self.config.hidden)
        network.load_state_dict({n: torch.from_numpy(a) for n, a in self.trained.items()})
        act = deterministic(network.eval().of_task(self.task))
        return episodes_score(
            self.task,
            "cloning, one for all tasks",
            run_episodes(self.shift.of(get_task(self.task)), act, self.seeds),
            seeds=self.seeds,
            training_seed=self.config.seed,
            settings=asdict(self.config) | {"cloned_tasks": len(tasks)},
        )


@dataclass(frozen=True)
class ExtractedPolicy:
    """An extracted policy by itself."""

    task: str
    policy: Path
    seeds: tuple[int, ...]
    shift: Shift = NOMINAL

    def run(self) -> Score:
        trained = TrainedPolicy.load(self.policy)
        act = deterministic(trained.policy)
        episodes = run_episodes(self.shift.of(get_task(self.task)), act, self.seeds)
        return episodes_score(
            self.task,
            EXTRACTED,
            episodes,
            seeds=self.seeds,
            policy=sha256(self.policy),
            training_seed=training_seed(trained),
            decision_ms=time_decisions(lambda: act, episodes.observation[:, 0]),
        )


@dataclass(frozen=True)
class Planner:
    """A planner in the world model, with an extracted policy's actor and critics."""

    task: str
    name: str
    planning: Planning
    policy: Path
    world_model: Path
    seeds: tuple[int, ...]
    shift: Shift = NOMINAL

    def run(self) -> Score:
        trained = TrainedPolicy.load(self.policy)
        problem = planning_problem(trained, self.policy, self.world_model)
        task = self.shift.of(get_task(self.task))
        episodes = run_episodes(task, self.planning.make(problem, self.seeds[0]), self.seeds)
        settings = asdict(self.planning) | {"terminal_value": problem.has_value}  # type: ignore[call-overload]
        return episodes_score(
            self.task,
            self.name if problem.has_value else f"{self.name} without a value",
            episodes,
            seeds=self.seeds,
            training_seed=training_seed(trained),
            decision_ms=time_decisions(
                lambda: self.planning.make(problem, 0), episodes.observation[:, 0]
            ),
            settings=settings | {"policy": sha256(self.policy)},
        )


def planning_problem(trained: TrainedPolicy, policy: Path, world_model: Path) -> WorldModelProblem:
    """Return the policy's task in ``world_model``; the value lies beside the policy's file.

    ``PwmError`` when the policy was extracted from another world model: its latents differ.
    """
    made_from = trained.record.get("provenance", {}).get("world_model")
    if made_from != sha256(world_model):
        raise PwmError(
            f"{policy} was extracted from the world model {str(made_from)[:16]}, "
            f"{world_model} is {sha256(world_model)[:16]}: give the one it was extracted from"
        )
    known = TrainedWorldModel.load(world_model, torch.device("cpu"))
    model = known.model.requires_grad_(False).eval()
    return WorldModelProblem(
        model,
        known.task_index(trained.task.name),
        trained.task.action.size,
        training_discount(trained),
        trained.policy.actor,
        load_value(policy.parent, model.config.latent),
    )


def data_scores(dataset: Dataset, task: str) -> list[Score]:
    """Return the scores of the data's episodes and of the best of them."""
    episodes = dataset.of_task(task)
    best = max(episodes, key=lambda episode: episode.total_reward)
    return [
        Score(
            task,
            name,
            tuple(episode.total_reward for episode in chosen),
            (),
            success=tuple(bool(episode.success) for episode in chosen)
            if all(episode.success is not None for episode in chosen)
            else None,
            lengths=tuple(episode.length for episode in chosen),
        )
        for name, chosen in (("data, mean", episodes), ("data, best episode", [best]))
    ]


def training_seed(trained: TrainedPolicy) -> int | None:
    """Return the seed of the extraction that made a policy."""
    return _training_config(trained).get("seed")


def training_discount(trained: TrainedPolicy) -> float:
    """Return the discount per decision at which a policy and its critics were trained."""
    chosen = _training_config(trained).get("discount")
    return trained.task.discount if chosen is None else chosen


def _training_config(trained: TrainedPolicy) -> Mapping[str, Any]:
    return trained.record.get("provenance", {}).get("config", {})


def time_decisions(make: Callable[[], Act], observation: np.ndarray) -> tuple[float, float]:
    """Return median and 99th percentile, in ms, of single decisions on ``observation [T, O]``."""
    act, times = make(), []
    for row in observation[: UNTIMED_DECISIONS + TIMED_DECISIONS]:
        begin = time.perf_counter()
        act(row[None])
        times.append(time.perf_counter() - begin)
    median, late = np.percentile(times[UNTIMED_DECISIONS:], (50, 99)) * 1e3
    return float(median), float(late)


def baselines(
    data: Path, task: str, seeds: Sequence[int], config: CloningConfig, shift: Shift = NOMINAL
) -> list[Job]:
    """Return random and the task's own clones."""
    chosen = tuple(seeds)
    return [
        Random(task, chosen, shift),
        Cloning(task, data, False, chosen, config, shift),
        Cloning(task, data, True, chosen, config, shift),
    ]
