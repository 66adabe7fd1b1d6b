# SPDX-License-Identifier: Apache-2.0
"""The figures that judge a world model: open-loop errors on held-out windows, task by task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pwm_core.data.dataset import Dataset, EpisodeTable
from pwm_core.data.sampler import Windows, WindowSampler
from pwm_core.model.world_model import WorldModel
from pwm_core.pretraining.loss import unroll

WINDOWS = 1024
"""Windows in a judgement, shared by the tasks."""
FEWEST = 32
"""Windows of a task however many tasks there are."""


@dataclass(frozen=True)
class ModelQuality:
    """Open-loop errors, each relative to the variance of what is predicted.

    They are of the decisions in the windows, none of what lies behind a terminal state.
    """

    reward_error: float | None
    """Mean squared reward error over the horizon / variance of the rewards; ``None`` where the
    held-out rewards are all the same."""
    latent_error: tuple[float, ...]
    """Mean squared latent error after 1, 2, … steps / variance of the encoded latents, as many
    steps as the longest window has."""
    termination_error: float | None = None
    """Mean squared error of the probability that a decision ends the episode / variance of whether
    it does: 1 is as good as knowing how often. ``None`` where no window ends, or for a model that
    does not predict ends."""


def validation_windows(
    dataset: Dataset, held_out: EpisodeTable, tasks: Sequence[str], horizon: int, seed: int
) -> Windows:
    """Return windows of ``held_out`` episodes, as many of each task."""
    present = held_out.tasks
    each = max(WINDOWS // len(present), FEWEST)
    batches = [
        WindowSampler(dataset, held_out.of_task(task), tasks, horizon, each, seed).batch(0)
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
    ends: Tensor | None
    """Probability that a decision ends the episode, ``[horizon, batch]``; ``None`` where the model
    has no termination head."""


@torch.no_grad()
def predict(model: WorldModel, windows: Windows) -> Prediction:
    """Predict ``windows`` open loop."""
    horizon = windows.action.shape[0]
    embedding = model.embedding(windows.task)
    encoded = model.encode(windows.observation, windows.task)
    latent = unroll(model, encoded[0], windows.action, embedding)
    repeated = embedding.expand(horizon, -1, -1)
    reward = model.reward(latent[:-1], windows.action, repeated)
    ends = 1 - model.continues(latent[1:], repeated) if model.config.termination else None
    return Prediction(encoded, latent, reward, ends)


def latent_squares(p: Prediction, counted: Tensor) -> Tensor:
    """Return squared latent errors ``[horizon, batch]`` / variance of the encoded latents.

    The variance is that of the latents before and after decisions ``counted [horizon, batch]``.
    """
    latents = p.encoded[torch.cat([counted[:1], counted])]
    spread = (latents - latents.mean(0)).square().mean()
    return (p.latent[1:] - p.encoded[1:]).square().mean(2) / spread


def relative_errors(p: Prediction, windows: Windows, of: Tensor) -> ModelQuality:
    """Return the errors of what is predicted of those of ``windows`` that ``of [batch]`` says."""
    counted = (windows.decided == 1) & of
    number = counted.sum(1)
    reached = number > 0
    latent_error = (latent_squares(p, counted) * counted).sum(1)[reached] / number[reached]
    return ModelQuality(
        _relative(p.reward[counted], windows.reward[counted]),
        tuple(latent_error.tolist()),
        None if p.ends is None else _relative(p.ends[counted], windows.terminal[counted]),
    )


def _relative(found: Tensor, true: Tensor) -> float | None:
    """Return mean squared error / variance, ``None`` where all that is true is the same."""
    variance = true.var()
    return ((found - true).square().mean() / variance).item() if variance > 0 else None


def judge(model: WorldModel, windows: Windows) -> ModelQuality:
    """Predict ``windows`` and return the errors over all of them."""
    return relative_errors(predict(model, windows), windows, _every(windows))


def judge_tasks(
    model: WorldModel, windows: Windows, tasks: Sequence[str]
) -> tuple[ModelQuality, dict[str, ModelQuality]]:
    """Predict ``windows``; return the errors over all of them and over those of each task."""
    prediction = predict(model, windows)
    per_task = {
        tasks[index]: relative_errors(prediction, windows, windows.task == index)
        for index in windows.task.unique().tolist()
    }
    return relative_errors(prediction, windows, _every(windows)), per_task


def _every(windows: Windows) -> Tensor:
    return torch.ones_like(windows.task, dtype=torch.bool)


def quality_record(whole: ModelQuality, per_task: dict[str, ModelQuality]) -> dict[str, Any]:
    """Return the errors as ``world_model.safetensors`` keeps them, those of tasks by name."""
    return {**vars(whole), "tasks": {task: vars(quality) for task, quality in per_task.items()}}
