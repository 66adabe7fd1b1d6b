# SPDX-License-Identifier: Apache-2.0
"""``pwm tasks``: list suites and tasks, with their layouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pwm_core.errors import PwmError
from pwm_core.tables import print_table
from pwm_core.tasks import Task, all_tasks, suites


class NoTaskError(PwmError, ValueError):
    """Nothing is to be listed."""


@dataclass(frozen=True)
class Tasks:
    """List the tasks PWM Deploy knows: the suites, or the tasks of a suite or of a name."""

    suite: str | None = None
    """List the tasks of this suite."""
    name: str | None = None
    """List the tasks whose name contains this, of all suites or of one."""
    json: bool = False
    """Print JSON; of tasks with their layouts."""

    def run(self) -> int:
        """Print the table."""
        if self.suite is None and self.name is None:
            self._print_suites()
            return 0
        tasks = [task for task in all_tasks(self.suite) if (self.name or "") in task.name]
        if not tasks:
            raise NoTaskError(self._nothing())
        rows = [full_row(task) if self.json else row(task) for task in tasks]
        print_table(f"{len(tasks)} tasks", rows, self.json)
        return 0

    def _print_suites(self) -> None:
        rows = [suite_row(suite) for suite in suites() if all_tasks(suite)]
        print_table("Suites", rows, self.json)
        if not self.json:
            print("pwm tasks --suite SUITE lists tasks, --name WORD finds them by name.")
            print("pwm tasks add --mjcf FILE --reward module:function adds your own robot.")

    def _nothing(self) -> str:
        if self.name is not None:
            return f"no task's name contains {self.name!r}: pwm tasks lists the suites"
        return (
            f"suite {self.suite} is empty: "
            "pwm tasks add --mjcf FILE --reward module:function adds a task"
        )


def row(task: Task) -> dict[str, Any]:
    """Return what fits a line beside the longest name."""
    return {
        "task": task.name,
        "suite": task.suite,
        "obs": task.observation.size,
        "act": task.action.size,
        "Hz": 1 / task.control_step,
        "decisions": task.episode_steps,
        "episode": episode(task),
    }


def full_row(task: Task) -> dict[str, Any]:
    """Return the whole description, JSON-ready."""
    return {
        "task": task.name,
        "suite": task.suite,
        "body": task.body,
        "observations": task.observation.to_json(),
        "actions": task.action.to_json(),
        "rate (Hz)": 1 / task.control_step,
        "decisions": task.episode_steps,
        "discount": task.discount,
        "episodic": task.episodic,
        "reports_success": task.reports_success,
    }


def episode(task: Task) -> str:
    """Say what an episode knows besides its time: terminal states, success."""
    ways = [
        word
        for word, holds in (("terminal", task.episodic), ("success", task.reports_success))
        if holds
    ]
    return " + ".join(ways) or "time"


def suite_row(suite: str) -> dict[str, Any]:
    """Return a line about all tasks of a suite."""
    tasks = all_tasks(suite)
    return {
        "suite": suite,
        "tasks": len(tasks),
        "bodies": len({task.body for task in tasks}),
        "observations": _range([task.observation.size for task in tasks]),
        "actions": _range([task.action.size for task in tasks]),
        "episodes": ", ".join(sorted({episode(task) for task in tasks})),
    }


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"
