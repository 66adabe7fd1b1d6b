# SPDX-License-Identifier: Apache-2.0
"""``dataset.json``: schema version, what the data keeps of each task, and the arrays' widths."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pwm_core.errors import PwmError
from pwm_core.files import write_atomically
from pwm_core.layout import ActionLayout, ObservationLayout
from pwm_core.tasks.task import Task

SCHEMA_VERSION = 1


class DatasetError(PwmError):
    """The directory is no dataset, is damaged, or does not take what is being written."""


@dataclass(frozen=True)
class TaskInfo:
    """What a dataset keeps of a task, so that training needs no simulator."""

    name: str
    suite: str
    body: str
    observation: ObservationLayout
    action: ActionLayout
    control_step: float
    """Seconds per decision."""
    episode_steps: int
    discount: float
    """Discount per decision."""
    episodic: bool = False
    """Whether an episode can end in a terminal state before ``episode_steps``."""
    reports_success: bool = False
    """Whether the task says when it is solved."""

    @classmethod
    def of(cls, task: Task) -> TaskInfo:
        """Return the part of ``task`` that is data."""
        return cls(
            task.name,
            task.suite,
            task.body,
            task.observation,
            task.action,
            task.control_step,
            task.episode_steps,
            task.discount,
            task.episodic,
            task.reports_success,
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        plain = {k: v for k, v in vars(self).items() if k not in ("observation", "action")}
        layouts = {"observation": self.observation.to_json(), "action": self.action.to_json()}
        return plain | layouts

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> TaskInfo:
        """Read what :meth:`to_json` wrote."""
        layouts = {
            "observation": ObservationLayout.from_json(stored["observation"]),
            "action": ActionLayout.from_json(stored["action"]),
        }
        return cls(**(stored | layouts))

    def difference(self, other: TaskInfo) -> list[str]:
        """Return one sentence per difference to ``other``; empty when they are equal."""
        sentences = [f"observation {s}" for s in self.observation.difference(other.observation)]
        sentences += [f"action {s}" for s in self.action.difference(other.action)]
        return sentences + [
            f"{name} is {vars(other)[name]!r}, expected {mine!r}"
            for name, mine in vars(self).items()
            if name not in ("observation", "action") and vars(other)[name] != mine
        ]


@dataclass(frozen=True)
class Schema:
    """The content of ``dataset.json``."""

    tasks: dict[str, TaskInfo]
    """By name, in the order of the file."""
    observation_width: int
    """Entries per row of ``observation.f32``: the widest task's, or more."""
    action_width: int

    @classmethod
    def of(cls, tasks: Iterable[TaskInfo]) -> Schema:
        """Return the narrowest schema that holds ``tasks``."""
        named = {task.name: task for task in tasks}
        return cls(
            named,
            max(task.observation.size for task in named.values()),
            max(task.action.size for task in named.values()),
        )

    @classmethod
    def read(cls, path: Path) -> Schema:
        """Read ``path/dataset.json``; ``DatasetError`` names the field that is wrong."""
        return cls.parse(read_schema_file(path), path / "dataset.json")

    @classmethod
    def parse(cls, content: bytes, file: Path) -> Schema:
        """Read the ``content`` of ``file``; ``DatasetError`` names the field that is wrong."""
        header = _header(content, file)
        try:
            tasks = [TaskInfo.from_json(stored) for stored in header["tasks"]]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{file}: tasks cannot be read ({error!r})") from error
        if not tasks:
            raise DatasetError(f"{file}: tasks is empty, expected at least one")
        needed = cls.of(tasks)
        for name in ("observation_width", "action_width"):
            width, least = header.get(name), vars(needed)[name]
            if not isinstance(width, int) or width < least:
                raise DatasetError(f"{file}: {name} is {width!r}, its tasks need {least} or more")
        return cls(needed.tasks, header["observation_width"], header["action_width"])

    def write(self, path: Path) -> None:
        """Write ``path/dataset.json``, whole or not at all."""
        header = {
            "schema_version": SCHEMA_VERSION,
            "tasks": [task.to_json() for task in self.tasks.values()],
            "observation_width": self.observation_width,
            "action_width": self.action_width,
        }
        write_atomically(path / "dataset.json", json.dumps(header, indent=1))

    def joined(self, tasks: Iterable[TaskInfo], path: Path) -> Schema:
        """Return this schema with ``tasks`` added, widths unchanged.

        ``DatasetError`` when a task of the same name differs (with the difference), or when a task
        is wider than the arrays of the dataset at ``path``.
        """
        union = dict(self.tasks)
        for task in tasks:
            difference = union.setdefault(task.name, task).difference(task)
            if difference:
                raise DatasetError(f"{path} describes {task.name} otherwise: {difference[0]}")
            needed = {"observations": task.observation.size, "actions": task.action.size}
            widths = {"observations": self.observation_width, "actions": self.action_width}
            for name, size in needed.items():
                if size > widths[name]:
                    raise DatasetError(
                        f"{task.name} has {size} {name}, the arrays of {path} hold "
                        f"{widths[name]}: write it to a directory of its own and join the two "
                        "with pwm data merge"
                    )
        return Schema(union, self.observation_width, self.action_width)


def read_schema_file(path: Path) -> bytes:
    """Return the bytes of ``path/dataset.json``; ``DatasetError`` when there is none."""
    file = path / "dataset.json"
    if not file.is_file():
        raise DatasetError(f"{path} is no dataset: dataset.json is missing")
    return file.read_bytes()


def _header(content: bytes, file: Path) -> dict[str, Any]:
    try:
        header = json.loads(content)
    except ValueError as error:
        raise DatasetError(f"{file} is not JSON: {error}") from error
    version = header.get("schema_version") if isinstance(header, dict) else None
    if version != SCHEMA_VERSION:
        raise DatasetError(
            f"{file}: schema_version is {version!r}, this version reads {SCHEMA_VERSION}"
        )
    return header
