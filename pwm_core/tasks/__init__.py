# SPDX-License-Identifier: Apache-2.0
"""The tasks PWM Deploy knows, by name. The only package that knows simulators."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pwm_core.errors import PwmError
from pwm_core.tasks import dm_control, gymnasium_mujoco, metaworld, myosuite, playground, robots
from pwm_core.tasks.task import (
    Expert,
    SingleEnvironment,
    Task,
    TrueDynamics,
    VectorEnvironment,
    VectorStep,
)
from pwm_core.tasks.task_files import TaskFiles

__all__ = [
    "Expert",
    "SingleEnvironment",
    "Task",
    "TrueDynamics",
    "UnknownTaskError",
    "VectorEnvironment",
    "VectorStep",
    "all_tasks",
    "get_task",
    "suites",
]

_DESCRIBED = {
    task.name: task
    for task in (
        *dm_control.TASKS,
        *gymnasium_mujoco.TASKS,
        *metaworld.TASKS,
        *robots.TASKS,
    )
}
_CATALOGUES: dict[str, Mapping[str, Task]] = {
    tasks.suite: tasks for tasks in (myosuite.TASKS, playground.TASKS, TaskFiles())
}
"""Suites whose tasks are described when they are asked for."""

_LISTS = {"mt30": dm_control.TASKS, "mt80": (*dm_control.TASKS, *metaworld.TASKS)}
"""Published lists of tasks, which are suites too."""


class UnknownTaskError(PwmError, ValueError):
    """No task has that name; the message lists the nearest ones."""


def suites() -> list[str]:
    """Return the names of the suites: one per simulator package, and the published lists."""
    return [*dict.fromkeys(t.suite for t in _DESCRIBED.values()), *_CATALOGUES, *_LISTS]


def all_tasks(suite: str | None = None) -> list[Task]:
    """Return every task, or those of one ``suite``; ``UnknownTaskError`` for an unknown suite."""
    if suite is not None and suite not in suites():
        raise UnknownTaskError(f"unknown suite {suite!r}: the suites are {', '.join(suites())}")
    if suite is None:
        described_late = (task for tasks in _CATALOGUES.values() for task in tasks.values())
        return [*_DESCRIBED.values(), *described_late]
    if suite in _LISTS:
        return list(_LISTS[suite])
    if suite in _CATALOGUES:
        return list(_CATALOGUES[suite].values())
    return [task for task in _DESCRIBED.values() if task.suite == suite]


def get_task(name: str) -> Task:
    """Return the task called ``name``; ``UnknownTaskError`` with the nearest names otherwise."""
    for tasks in (_DESCRIBED, *_CATALOGUES.values()):
        if name in tasks:
            return tasks[name]
    known = [*_DESCRIBED, *(known for tasks in _CATALOGUES.values() for known in tasks)]
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    advice = f"did you mean {' or '.join(nearest)}?" if nearest else "pwm tasks lists them"
    raise UnknownTaskError(f"unknown task {name!r}: {advice}")
