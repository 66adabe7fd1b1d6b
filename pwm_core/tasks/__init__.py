# SPDX-License-Identifier: Apache-2.0
"""The tasks PWM Deploy knows, by name. The only package that knows simulators."""

from __future__ import annotations

import difflib

from pwm_core.errors import PwmError
from pwm_core.tasks import cartpole, gymnasium_mujoco, metaworld
from pwm_core.tasks.task import (
    Expert,
    SingleEnvironment,
    Task,
    TrueDynamics,
    VectorEnvironment,
    VectorStep,
)

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
]

_TASKS = {task.name: task for task in (*cartpole.TASKS, *gymnasium_mujoco.TASKS, *metaworld.TASKS)}


class UnknownTaskError(PwmError, ValueError):
    """No task has that name; the message lists the nearest ones."""


def all_tasks(suite: str | None = None) -> list[Task]:
    """Return every task, or those of one ``suite``; ``UnknownTaskError`` for an unknown suite."""
    tasks = [task for task in _TASKS.values() if suite in (None, task.suite)]
    if not tasks:
        suites = sorted({task.suite for task in _TASKS.values()})
        raise UnknownTaskError(f"unknown suite {suite!r}: the suites are {', '.join(suites)}")
    return tasks


def get_task(name: str) -> Task:
    """Return the task called ``name``; ``UnknownTaskError`` with the nearest names otherwise."""
    if name not in _TASKS:
        nearest = difflib.get_close_matches(name, _TASKS, n=3, cutoff=0.4) or sorted(_TASKS)
        raise UnknownTaskError(f"unknown task {name!r}: did you mean {' or '.join(nearest)}?")
    return _TASKS[name]
