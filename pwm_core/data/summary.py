# SPDX-License-Identifier: Apache-2.0
"""What is in a dataset, per task and behaviour."""

from __future__ import annotations

from typing import Any

from pwm_core.data.dataset import Dataset, EpisodeTable


def behaviour_rows(dataset: Dataset) -> list[dict[str, Any]]:
    """Return a row per task and behaviour, and one per task: episodes, mean and best return.

    With the share of episodes that were solved, where any task says so.
    """
    rows = []
    for task in dataset.tasks:
        episodes = dataset.of_task(task)
        parts = {name: episodes.of_behaviour(name) for name in episodes.behaviours}
        rows += [_row(task, name, part) for name, part in parts.items()]
        rows.append(_row(task, "all", episodes))
    if all(row["success rate"] is None for row in rows):
        return [{k: v for k, v in row.items() if k != "success rate"} for row in rows]
    return rows


def _row(task: str, behaviour: str, episodes: EpisodeTable) -> dict[str, Any]:
    returns = episodes.column("total_reward")
    known = episodes.column("success")[episodes.column("success") >= 0]
    return {
        "task": task,
        "behaviour": behaviour,
        "episodes": len(episodes),
        "transitions": int(episodes.length.sum()),
        "mean return": float(returns.mean()) if len(episodes) else None,
        "best return": float(returns.max()) if len(episodes) else None,
        "success rate": float(known.mean()) if len(known) else None,
    }
