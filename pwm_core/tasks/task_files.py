# SPDX-License-Identifier: Apache-2.0
"""Task files: tasks of one's own by name, in the directory ``PWM_TASKS`` (default ``./tasks``).

A task file ``NAME.json`` holds the fields of :class:`~pwm_core.tasks.mjcf.MjcfTask`; its paths are
relative to itself, so that a project can be moved as a whole.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pwm_core.files import write_atomically
from pwm_core.tasks.mjcf import SUITE, MjcfTask, MjcfTaskError, task_from_mjcf
from pwm_core.tasks.task import Task

SCHEMA_VERSION = 1
_PATHS = ("mjcf", "modules")


def directory() -> Path:
    """Return where task files are looked for."""
    return Path(os.environ.get("PWM_TASKS") or "tasks")


def save(description: MjcfTask) -> Path:
    """Write the task's file and return its path; ``MjcfTaskError`` for a name that is none."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", description.name):
        raise MjcfTaskError(
            f"task name {description.name!r}: lower case letters, digits and single dashes "
            "were expected, e.g. my-robot-walk"
        )
    path = directory() / f"{description.name}.json"
    content: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    for field in fields(description):
        value = getattr(description, field.name)
        content[field.name] = os.path.relpath(value, path.parent) if field.name in _PATHS else value
    write_atomically(path, json.dumps(content, indent=1) + "\n")
    return path


def read(path: Path) -> MjcfTask:
    """Read a task file; ``MjcfTaskError`` with file and field where it is not one."""
    try:
        content = json.loads(path.read_text())
        version = content.pop("schema_version")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise MjcfTaskError(f"{path} is no task file: {error}") from error
    if version != SCHEMA_VERSION:
        raise MjcfTaskError(f"{path}: schema version {version}, {SCHEMA_VERSION} was expected")
    try:
        for name in _PATHS:
            content[name] = Path(os.path.normpath(path.parent / content[name]))
        content["observation"] = tuple(content["observation"])
        return MjcfTask(**content)
    except (KeyError, TypeError) as error:
        raise MjcfTaskError(f"{path} is no task file: {error}") from error


def own_task(mjcf: Path, reward: str, name: str | None = None, **settings: Any) -> MjcfTask:
    """Describe a task by what a user types: the module is looked for here, then beside the MJCF.

    Without ``name``: the file's and the function's, ``my-robot-walk``. ``settings`` are further
    fields of :class:`MjcfTask`.
    """
    module, _, function = reward.partition(":")
    source = Path(*module.split("."))
    beside = [Path.cwd(), mjcf.resolve().parent]
    holds = [d for d in beside if (d / source).with_suffix(".py").exists() or (d / source).is_dir()]
    plain = re.sub(r"[^a-z0-9]+", "-", f"{mjcf.stem}-{function}".lower()).strip("-")
    return MjcfTask(name or plain, mjcf, reward, (holds or beside)[0], **settings)


def try_out(description: MjcfTask) -> Task:
    """Return the task after one real decision, so that mistakes are found before data is made."""
    task = task_from_mjcf(description)
    task.make_single(0).step(task.action.to_normalised(task.action.safe))
    return task


class TaskFiles(Mapping[str, Task]):
    """The tasks of the directory, as it is at the moment; models are compiled when asked for."""

    suite = SUITE

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(path.stem for path in directory().glob("*.json")))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __getitem__(self, name: str) -> Task:
        return task_from_mjcf(read(directory() / f"{name}.json"))
