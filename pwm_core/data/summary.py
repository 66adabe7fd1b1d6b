# SPDX-License-Identifier: Apache-2.0
"""What is in a dataset, per task and behaviour."""

from __future__ import annotations

from typing import Any

import numpy as np

from pwm_core.data.dataset import Dataset


def behaviour_rows(dataset: Dataset) -> list[dict[str, Any]]:
    """Return a row per task and behaviour, and one per task: episodes, mean and best return."""
    rows = []
    for task in dataset.tasks:
        episodes = dataset.of_task(task)
        names = list(dict.fromkeys(episode.behaviour for episode in episodes))
        for name in [*names, "all"]:
            chosen = [e for e in episodes if name in ("all", e.behaviour)]
            returns = np.array([e.total_reward for e in chosen])
            rows.append(
                {
                    "task": task,
                    "behaviour": name,
                    "episodes": len(chosen),
                    "transitions": sum(e.length for e in chosen),
                    "mean return": float(returns.mean()),
                    "best return": float(returns.max()),
                }
            )
    return rows
