# SPDX-License-Identifier: Apache-2.0
"""What training starts from: an untrained model for a dataset, or a trained one for more tasks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pwm_core.data.dataset import Dataset, DatasetError, EpisodeTable, TaskInfo
from pwm_core.data.sampler import Windows
from pwm_core.data.statistics import observation_moments
from pwm_core.model.store import TrainedWorldModel
from pwm_core.model.world_model import WorldModel, WorldModelConfig

SMALLEST_SCALE = 1e-3
"""Standard deviation below which an observation counts as constant."""


def set_task(model: WorldModel, row: int, dataset: Dataset, task: TaskInfo) -> None:
    """Set the normalisation and the action mask of the model's task ``row`` from its data."""
    size = task.observation.size
    mean, deviation = observation_moments(dataset, dataset.of_task(task.name))
    model.observation_mean[row, :size] = torch.from_numpy(mean[:size])
    model.observation_scale[row, :size] = torch.from_numpy(deviation[:size]).clamp(SMALLEST_SCALE)
    model.action_mask[row, task.action.size :] = 0


def _widths(tasks: Iterable[TaskInfo]) -> tuple[int, int]:
    """Return the most observations and the most actions of ``tasks``."""
    sizes = [(task.observation.size, task.action.size) for task in tasks]
    return max(o for o, _ in sizes), max(a for _, a in sizes)


def build_model(dataset: Dataset, config: WorldModelConfig) -> WorldModel:
    """Return an untrained model for the dataset's tasks, normalisation and masks set."""
    model = WorldModel(config, len(dataset.tasks), *_widths(dataset.tasks.values()))
    for row, task in enumerate(dataset.tasks.values()):
        set_task(model, row, dataset, task)
    return model


def extend_model(trained: TrainedWorldModel, dataset: Dataset) -> tuple[WorldModel, list[TaskInfo]]:
    """Return a copy of the trained model that also has the dataset's new tasks, and all its tasks.

    A new task gets a new embedding and the normalisation of its data. Wider observations or actions
    get weights of zero, so that the predictions for the old tasks do not change.
    """
    for task in trained.tasks:
        if task.name in dataset.tasks and dataset.tasks[task.name] != task:
            raise DatasetError(
                f"{dataset.path} does not describe {task.name} as the world model does"
            )
    known = {task.name for task in trained.tasks}
    tasks = [*trained.tasks, *(t for t in dataset.tasks.values() if t.name not in known)]
    old = trained.model
    model = WorldModel(old.config, len(tasks), *_widths(tasks))
    model.load_state_dict(_widened(old, model))
    for row, task in enumerate(tasks[len(known) :], start=len(known)):
        set_task(model, row, dataset, task)
    return model, tasks


def _widened(old: WorldModel, new: WorldModel) -> dict[str, Tensor]:
    """Return the state of ``new`` with the weights of ``old`` and zeros for added inputs."""
    state = old.state_dict()
    observations, actions = old.observation_mean.shape[1], old.action_mask.shape[1]
    added = new.observation_mean.shape[1] - observations, new.action_mask.shape[1] - actions
    for name in state:
        if name == "encoder.0.weight":
            state[name] = _with_columns(state[name], observations, added[0])
        elif name.endswith(".0.weight") and "termination" not in name:
            state[name] = _with_columns(state[name], old.config.latent + actions, added[1])
    for name in ("task_embedding", "observation_mean", "observation_scale", "action_mask"):
        rows = new.state_dict()[name].clone()
        rows[: len(state[name]), : state[name].shape[1]] = state[name]
        state[name] = rows
    state["action_mask"][: len(old.action_mask), actions:] = 0
    return state


def _with_columns(weight: Tensor, at: int, count: int) -> Tensor:
    """Return ``weight [outputs, inputs]`` with ``count`` columns of zeros before column ``at``."""
    return torch.cat([weight[:, :at], weight.new_zeros(len(weight), count), weight[:, at:]], 1)


def train_only_new_embeddings(model: WorldModel, known: int) -> None:
    """Freeze everything but the task embeddings from row ``known`` on."""
    model.requires_grad_(False)
    model.task_embedding.requires_grad_(True)
    new = (torch.arange(len(model.task_embedding)) >= known)[:, None]
    model.task_embedding.register_hook(lambda gradient: gradient * new.to(gradient))


def pad(windows: Windows, observation_size: int, action_size: int) -> Windows:
    """Return ``windows`` as wide as a model: what is added, or taken away, is padding of zeros."""
    fields = dict(vars(windows))
    for name, width in (("observation", observation_size), ("action", action_size)):
        fields[name] = functional.pad(fields[name], (0, width - fields[name].shape[-1]))
    return Windows(**fields)


def balanced(episodes: EpisodeTable) -> EpisodeTable:
    """Return ``episodes`` with those of rarer tasks repeated, about as many of each task."""
    _, task, counts = np.unique(episodes.column("task"), return_inverse=True, return_counts=True)
    repeats = np.round(counts.max() / counts).astype(int)
    return episodes[np.repeat(np.arange(len(episodes)), repeats[task])]
