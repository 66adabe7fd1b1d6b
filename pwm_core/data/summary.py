# SPDX-License-Identifier: Apache-2.0
"""What is in a dataset, per task and behaviour."""

from __future__ import annotations

from typing import Any

from pwm_core.data.dataset import Dataset, EpisodeTable


def behaviour_rows(dataset: Dataset) -> list[dict[str, Any]]:
    """Return a row per task and behaviour, and one per task: episodes, mean and best return."""
    rows = []
    for task in dataset.tasks:
        episodes = dataset.of_task(task)
        parts = {name: episodes.of_behaviour(name) for name in episodes.behaviours}
        rows += [_row(task, name, part) for name, part in parts.items()]
        rows.append(_row(task, "all", episodes))
    return rows


def _row(task: str, behaviour: str, episodes: EpisodeTable) -> dict[str, Any]:
    returns = episodes.column("total_reward")
    return {
        "task": task,
        "behaviour": behaviour,
        "episodes": len(episodes),
        "transitions": int(episodes.length.sum()),
        "mean return": float(returns.mean()) if len(episodes) else None,
        "best return": float(returns.max()) if len(episodes) else None,
    }
