# SPDX-License-Identifier: Apache-2.0
"""When a world model is too poor to extract a policy from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REWARD_ERROR_LIMIT = 0.06
"""Held-out relative reward error above which every trial's policy exploited its model."""


def too_poor(quality: Mapping[str, Any], task: str | None = None) -> str | None:
    """Return why the model should not be trusted with ``task``, or ``None``.

    Nothing is known of a task that was not judged. The whole model's error stands in only where
    the record is of before tasks were judged by themselves, or no task is asked for.
    """
    by_task = task is not None and "tasks" in quality
    figures = quality["tasks"].get(task, {}) if by_task else quality
    error = figures.get("reward_error")
    if error is None:
        return (
            "nothing is known of its reward error: judge it on held-out episodes "
            "whose rewards vary (pwm pretrain, or pwm import-checkpoint --data)"
        )
    if error <= REWARD_ERROR_LIMIT:
        return None
    return (
        f"held-out relative reward error is {error:.1%}, above {REWARD_ERROR_LIMIT:.0%}: "
        "a policy will exploit the model. Train longer, on more varied data, or with a larger model"
    )


def quality_row(quality: Mapping[str, Any]) -> dict[str, str]:
    """Return the errors of a model, or of one of its tasks, as columns of a table."""
    error, latent = quality["reward_error"], quality["latent_error"]
    return {
        "reward error": "unknown" if error is None else f"{error:.2%}",
        "latent error, 1 step": f"{latent[0]:.2%}",
        f"latent error, {len(latent)} steps": f"{latent[-1]:.2%}",
    }
