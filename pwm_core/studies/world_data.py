# SPDX-License-Identifier: Apache-2.0
"""Data of worlds that are no simulator's, choices of episodes, and world models of data."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path

import torch

from pwm_core.data.dataset import Dataset, DatasetWriter, EpisodeTable, TaskInfo
from pwm_core.errors import PwmError
from pwm_core.layout import ActionChannel, ActionLayout, ObservationChannel, ObservationLayout
from pwm_core.model.config import WorldModelConfig
from pwm_core.model.store import TrainedWorldModel
from pwm_core.pretraining.loss import LossWeights
from pwm_core.pretraining.runner import Pretraining, PretrainingConfig, PretrainingOptions
from pwm_core.run_directory import plain
from pwm_core.sources import WHOLE_OBSERVATION
from pwm_core.studies.analytic_worlds import STEP, AnalyticWorld
from pwm_core.tasks.task import discount

HOLD = 4
"""Decisions that a random action is held: faster changes average out."""
SMALL = WorldModelConfig(latent=64, encoder_width=128, width=128)
"""A world model that is trained in seconds."""
WORLD_MODEL = "world_model.safetensors"
"""The result of :func:`pretrain`."""


def task_info(name: str, world: AnalyticWorld, steps: int) -> TaskInfo:
    """Describe ``world`` as a dataset does, with episodes of so many ``steps``."""
    topic = WHOLE_OBSERVATION.topic
    observed = [
        ObservationChannel(f"entry_{i}", "1", topic, f"entry_{i}", "value")
        for i in range(world.latent)
    ]
    driven = [
        ActionChannel(f"action_{i}", f"joint_{i}", "effort", "1", -1.0, 1.0, 0.0)
        for i in range(world.actions)
    ]
    layouts = ObservationLayout(tuple(observed)), ActionLayout(tuple(driven))
    return TaskInfo(name, "analytic", name, *layouts, STEP, steps, discount(steps))


@torch.no_grad()
def collect_random(
    name: str, world: AnalyticWorld, path: Path, episodes: int, steps: int, seed: int
) -> None:
    """Write ``episodes`` of uniformly random actions, each held for a while, to ``path``."""
    generator = torch.Generator().manual_seed(seed)
    observation = [world.starts(episodes, generator)]
    held = 2 * torch.rand(-(-steps // HOLD), episodes, world.actions, generator=generator) - 1
    action = held.repeat_interleave(HOLD, 0)[:steps]
    reward = []
    for a in action:
        reward.append(world.earned(observation[-1], a))
        observation.append(world.next(observation[-1], a))
    seen, earned = torch.stack(observation, 1).numpy(), torch.stack(reward, 1).numpy()
    writer = DatasetWriter(path, [task_info(name, world, steps)])
    for i in range(len(writer.episodes), episodes):
        writer.append(name, "random", i, seen[i], action[:, i].numpy(), earned[i])


def only(dataset: Dataset, episodes: EpisodeTable) -> Dataset:
    """Return ``dataset`` as if it held ``episodes``, their tasks, and nothing else."""
    chosen = copy(dataset)
    chosen.episodes = episodes
    tasks = {task: dataset.tasks[task] for task in episodes.tasks}
    chosen.schema = replace(dataset.schema, tasks=tasks)
    return chosen


def recipe(model: WorldModelConfig, updates: int, seed: int) -> PretrainingConfig:
    """Return how `pwm pretrain` trains ``model`` by default, for so many updates."""
    return PretrainingConfig(
        model=model,
        weights=LossWeights(),
        updates=updates,
        transitions=1024,
        horizon=16,
        curriculum=((0.5, 4), (0.25, 8)),
        learning_rate=1e-3,
        encoder_rate=0.3,
        clip=1.0,
        betas=(0.9, 0.95),
        held_out=0.1,
        seed=seed,
    )


def pretrain(
    data: Dataset, out: Path, config: PretrainingConfig, initial: Path | None = None
) -> TrainedWorldModel:
    """Return the world model ``out/WORLD_MODEL``, trained on ``data`` where it is not there yet.

    ``initial`` is a world model that it goes on from. ``PwmError`` where there is one already that
    has been trained otherwise.
    """
    training = Pretraining(data, out, config, PretrainingOptions(threads=1), initial)
    file = out / WORLD_MODEL
    if not file.is_file():
        return training.run()
    trained = TrainedWorldModel.load(file, torch.device("cpu"))
    expected = {**training.inputs, "config": plain(training.config)}
    if trained.provenance != expected or trained.tasks != training.tasks:
        raise PwmError(
            f"{file} was trained otherwise than this study does: {trained.provenance}, expected "
            f"{expected}. Delete {out}, and it is trained anew"
        )
    return trained
