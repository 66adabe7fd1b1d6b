# SPDX-License-Identifier: Apache-2.0
"""The figures that judge a world model: open-loop errors on held-out windows, task by task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pwm_core.data.dataset import Dataset, DatasetError, EpisodeTable
from pwm_core.data.sampler import Windows, WindowSampler
from pwm_core.model.world_model import WorldModel
from pwm_core.pretraining.loss import unroll
from pwm_core.pretraining.preparation import long_enough

WINDOWS = 1024
"""Windows in a judgement, shared by the tasks."""
FEWEST = 32
"""Windows of a task however many tasks there are."""


@dataclass(frozen=True)
class ModelQuality:
    """Open-loop errors, each relative to the variance of what is predicted."""

    reward_error: float | None
    """Mean squared reward error over the horizon / variance of the rewards; ``None`` where the
    held-out rewards are all the same."""
    latent_error: tuple[float, ...]
    """Mean squared latent error after 1, 2, … steps / variance of the encoded latents."""


def validation_windows(
    dataset: Dataset, held_out: EpisodeTable, tasks: Sequence[str], horizon: int, seed: int
) -> Windows:
    """Return windows of ``held_out`` episodes, as many of each task that has long enough ones.

    ``DatasetError`` where every episode terminated before ``horizon`` decisions.
    """
    judging = long_enough(held_out, horizon)
    if not judging:
        raise DatasetError(
            f"{dataset.path}: all {len(held_out)} episodes to judge the model on terminated before "
            f"its horizon of {horizon} decisions: give a shorter --horizon, or data with longer "
            "episodes"
        )
    present = judging.tasks
    each = max(WINDOWS // len(present), FEWEST)
    batches = [
        WindowSampler(dataset, judging.of_task(task), tasks, horizon, each, seed).batch(0)
        for task in present
    ]
    parts = zip(*(vars(batch).values() for batch in batches), strict=True)
    return Windows(*(torch.cat(part, min(1, part[0].ndim - 1)) for part in parts))


@dataclass(frozen=True)
class Prediction:
    """What the model says of windows from their first observation on."""

    encoded: Tensor
    """Latents of the observations, ``[horizon + 1, batch, latent]``."""
    latent: Tensor
    """Latents predicted, of the same shape; the first is the encoded."""
    reward: Tensor
    """Rewards predicted, ``[horizon, batch]``."""


@torch.no_grad()
def predict(model: WorldModel, windows: Windows) -> Prediction:
    """Predict ``windows`` open loop."""
    horizon = windows.action.shape[0]
    embedding = model.embedding(windows.task)
    encoded = model.encode(windows.observation, windows.task)
    latent = unroll(model, encoded[0], windows.action, embedding)
    reward = model.reward(latent[:-1], windows.action, embedding.expand(horizon, -1, -1))
    return Prediction(encoded, latent, reward)


def relative_errors(encoded: Tensor, latent: Tensor, found: Tensor, reward: Tensor) -> ModelQuality:
    """Return the errors of latents ``[horizon + 1, batch, latent]`` and rewards."""
    variance = reward.var()
    error = ((found - reward).square().mean() / variance).item() if variance > 0 else None
    spread = (encoded - encoded.mean((0, 1))).square().mean()
    latent_error = (latent[1:] - encoded[1:]).square().mean((1, 2)) / spread
    return ModelQuality(error, tuple(latent_error.tolist()))


def judge(model: WorldModel, windows: Windows) -> ModelQuality:
    """Predict ``windows`` and return the errors over all of them."""
    p = predict(model, windows)
    return relative_errors(p.encoded, p.latent, p.reward, windows.reward)


def judge_tasks(
    model: WorldModel, windows: Windows, tasks: Sequence[str]
) -> tuple[ModelQuality, dict[str, ModelQuality]]:
    """Predict ``windows``; return the errors over all of them and over those of each task."""
    p = predict(model, windows)
    whole = relative_errors(p.encoded, p.latent, p.reward, windows.reward)
    per_task = {}
    for index in windows.task.unique().tolist():
        of = windows.task == index
        chosen = p.encoded[:, of], p.latent[:, of], p.reward[:, of], windows.reward[:, of]
        per_task[tasks[index]] = relative_errors(*chosen)
    return whole, per_task


def quality_record(whole: ModelQuality, per_task: dict[str, ModelQuality]) -> dict[str, Any]:
    """Return the errors as ``world_model.safetensors`` keeps them, those of tasks by name."""
    return {**vars(whole), "tasks": {task: vars(quality) for task, quality in per_task.items()}}
