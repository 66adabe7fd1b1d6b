# SPDX-License-Identifier: Apache-2.0
"""``pwm tasks``: list the tasks with their layouts."""

from __future__ import annotations

from dataclasses import dataclass

from pwm_core.tables import print_table
from pwm_core.tasks import all_tasks


@dataclass(frozen=True)
class Tasks:
    """List the tasks PWM Deploy knows."""

    suite: str | None = None
    """Only this suite."""
    json: bool = False
    """Print JSON, layouts included."""

    def run(self) -> int:
        """Print the table."""
        rows = [
            {
                "task": task.name,
                "suite": task.suite,
                "body": task.body,
                "observations": task.observation.to_json() if self.json else task.observation.size,
                "actions": task.action.to_json() if self.json else task.action.size,
                "rate (Hz)": 1 / task.control_step,
                "episode (decisions)": task.episode_steps,
                "discount": task.discount,
            }
            for task in all_tasks(self.suite)
        ]
        print_table("Tasks", rows, self.json)
        return 0
