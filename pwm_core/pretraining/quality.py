# SPDX-License-Identifier: Apache-2.0
"""When a world model is too poor to extract a policy from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """Return the errors of a model as columns of a table."""
    return quality_rows([quality])[0]


def quality_rows(qualities: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the errors of models, or of tasks of one, as rows of a table.

    How well ends of episodes are foreseen has a column where any of them has ends.
    """
    steps = max(len(quality["latent_error"]) for quality in qualities)
    ends = [quality.get("termination_error") for quality in qualities]
    rows = []
    for quality, end in zip(qualities, ends, strict=True):
        latent = quality["latent_error"]
        fewer = "" if len(latent) == steps else f" (after {len(latent)})"
        row = {
            "reward error": _percent(quality["reward_error"]),
            "latent error, 1 step": f"{latent[0]:.2%}",
            f"latent error, {steps} steps": f"{latent[-1]:.2%}{fewer}",
        }
        if any(other is not None for other in ends):
            row["termination error"] = "–" if end is None else _percent(end)
        rows.append(row)
    return rows


def _percent(error: float | None) -> str:
    return "unknown" if error is None else f"{error:.2%}"
