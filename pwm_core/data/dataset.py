# SPDX-License-Identifier: Apache-2.0
"""The dataset directory: episodes of one or many tasks as memory-mapped arrays.

    dataset.json      schema version, tasks with their layouts, array widths
    episodes.jsonl    one line per episode: task, behaviour, seed, start, length, return, checksum
    observation.f32   [rows, observation width]   little-endian float32, padded with zeros
    action.f32        [rows, action width]        in [-1, 1], padded with zeros
    reward.f32        [rows]

An episode of T decisions takes T + 1 rows. As in TD-MPC2's files, row t's action and reward lead
*to* row t's observation; those of the first row are NaN. An episode exists once its line in
``episodes.jsonl`` is complete: a crash loses at most the one being written, and appending costs the
same however large the dataset is.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pwm_core.errors import PwmError
from pwm_core.files import write_atomically
from pwm_core.layout import ActionLayout, ObservationLayout
from pwm_core.tasks.task import Task

SCHEMA_VERSION = 1
ARRAYS = ("observation", "action", "reward")


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


@dataclass(frozen=True)
class Episode:
    """One line of ``episodes.jsonl``."""

    task: str
    behaviour: str
    """What chose the actions, e.g. ``mpc-0.4``."""
    seed: int
    """Number of the episode within its task and behaviour."""
    start: int
    """First row."""
    length: int
    """Decisions; the episode takes ``length + 1`` rows."""
    total_reward: float
    checksum: int
    """CRC-32 over the episode's observation, action and reward bytes, in this order."""
    terminated: bool = False
    """Whether the last row is a terminal state, rather than the last one before time ran out."""
    success: bool | None = None
    """Whether the task was solved; ``None`` where that is not known."""

    @property
    def rows(self) -> slice:
        return slice(self.start, self.start + self.length + 1)


def _checksum(*arrays: np.ndarray) -> int:
    value = 0
    for array in arrays:
        value = zlib.crc32(np.ascontiguousarray(array, "<f4").tobytes(), value)
    return value


def _read_header(path: Path) -> dict[str, Any]:
    header_path = path / "dataset.json"
    if not header_path.is_file():
        raise DatasetError(f"{path} is no dataset: dataset.json is missing")
    try:
        header = json.loads(header_path.read_bytes())
    except ValueError as error:
        raise DatasetError(f"{header_path} is not JSON: {error}") from error
    version = header.get("schema_version") if isinstance(header, dict) else None
    if version != SCHEMA_VERSION:
        raise DatasetError(
            f"{header_path}: schema_version is {version!r}, this version reads {SCHEMA_VERSION}"
        )
    return header


def _read_tasks(path: Path, header: dict[str, Any]) -> dict[str, TaskInfo]:
    try:
        return {stored["name"]: TaskInfo.from_json(stored) for stored in header["tasks"]}
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path / 'dataset.json'}: tasks cannot be read ({error!r})") from error


def _require_bytes(file: Path, needed: int) -> None:
    present = file.stat().st_size if file.is_file() else 0
    if present < needed:
        raise DatasetError(
            f"{file} has {present} bytes, the episode table needs {needed}: it was truncated"
        )


def _read_episodes(path: Path) -> list[Episode]:
    """Return the complete lines; a last line without newline was being written and is left out."""
    table = path / "episodes.jsonl"
    content = table.read_bytes() if table.is_file() else b""
    episodes = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            episodes.append(Episode(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise DatasetError(f"{table}, line {number}: not an episode ({error})") from error
    return episodes


class Dataset:
    """A dataset directory, opened for reading; arrays stay on disk."""

    def __init__(self, path: str | Path) -> None:
        """Open ``path``; ``DatasetError`` names the file that is missing, short or too new."""
        self.path = Path(path)
        header = _read_header(self.path)
        self.tasks = _read_tasks(self.path, header)
        self.widths = header["observation_width"], header["action_width"]
        self.episodes = _read_episodes(self.path)
        if not self.episodes:
            raise DatasetError(f"{self.path} holds no complete episode yet")
        rows = max(episode.rows.stop for episode in self.episodes)
        self.observation = self._map("observation", (rows, self.widths[0]))
        self.action = self._map("action", (rows, self.widths[1]))
        self.reward = self._map("reward", (rows,))

    def _map(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        file = self.path / f"{name}.f32"
        _require_bytes(file, 4 * int(np.prod(shape)))
        return np.memmap(file, "<f4", "r", shape=shape)

    def of_task(self, task: str) -> list[Episode]:
        """Return the episodes of ``task``; ``DatasetError`` names the tasks present otherwise."""
        if task not in self.tasks:
            raise DatasetError(
                f"{self.path} has no task {task!r}; it has {', '.join(sorted(self.tasks))}"
            )
        return [episode for episode in self.episodes if episode.task == task]

    def validate(self) -> None:
        """Read everything; ``DatasetError`` names the first episode whose bytes have changed."""
        for number, episode in enumerate(self.episodes):
            rows = episode.rows
            found = _checksum(self.observation[rows], self.action[rows], self.reward[rows])
            if found != episode.checksum:
                raise DatasetError(
                    f"{self.path}, episode {number} ({episode.task}, {episode.behaviour}): "
                    f"checksum {found:08x}, expected {episode.checksum:08x}: data was changed"
                )

    def fingerprint(self) -> str:
        """Return a SHA-256 over header and episode table, which holds every checksum."""
        digest = hashlib.sha256((self.path / "dataset.json").read_bytes())
        for episode in self.episodes:
            digest.update(json.dumps(asdict(episode)).encode())
        return digest.hexdigest()


class DatasetWriter:
    """Append whole episodes to a new or existing directory."""

    def __init__(self, path: str | Path, tasks: list[TaskInfo]) -> None:
        """Create or reopen ``path`` for ``tasks``; what a crash left half-written is cut off."""
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        widths = max(t.observation.size for t in tasks), max(t.action.size for t in tasks)
        header = {
            "schema_version": SCHEMA_VERSION,
            "tasks": [task.to_json() for task in tasks],
            "observation_width": widths[0],
            "action_width": widths[1],
        }
        if (self.path / "dataset.json").exists():
            if _read_header(self.path) != header:
                raise DatasetError(
                    f"{self.path} holds other tasks or layouts: "
                    "choose another directory or delete it"
                )
        else:
            write_atomically(self.path / "dataset.json", json.dumps(header, indent=1))
        self._tasks = {task.name: task for task in tasks}
        self._widths = widths
        self.episodes = _read_episodes(self.path)
        self._rows = max((episode.rows.stop for episode in self.episodes), default=0)
        self._cut_half_written()

    def _cut_half_written(self) -> None:
        widths = {"observation": self._widths[0], "action": self._widths[1], "reward": 1}
        needed = {self.path / f"{n}.f32": 4 * self._rows * width for n, width in widths.items()}
        for path, size in needed.items():
            _require_bytes(path, size)
        for path, size in needed.items():
            with open(path, "ab") as file:
                file.truncate(size)
        lines = "".join(json.dumps(asdict(episode)) + "\n" for episode in self.episodes)
        write_atomically(self.path / "episodes.jsonl", lines)

    def append(
        self,
        task: str,
        behaviour: str,
        seed: int,
        observation: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        terminated: bool = False,
        success: bool | None = None,
    ) -> Episode:
        """Write one episode.

        Observations ``[T+1, O]``, actions ``[T, A]`` in [-1, 1], rewards ``[T]``.
        ``DatasetError`` names the array, the place and what was expected; nothing is written then.
        """
        arrays = self._padded(self._tasks[task], observation, action, reward)
        for name, array in zip(ARRAYS, arrays, strict=True):
            with open(self.path / f"{name}.f32", "ab") as file:
                file.write(array.tobytes())
                file.flush()
                os.fsync(file.fileno())
        total = float(np.sum(reward))
        checksum = _checksum(*arrays)
        episode = Episode(
            task, behaviour, seed, self._rows, len(reward), total, checksum, terminated, success
        )
        with open(self.path / "episodes.jsonl", "a") as file:
            file.write(json.dumps(asdict(episode)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._rows = episode.rows.stop
        self.episodes.append(episode)
        return episode

    def _padded(
        self, task: TaskInfo, observation: np.ndarray, action: np.ndarray, reward: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        steps = len(reward)
        if steps == 0:
            raise DatasetError(f"{task.name}: an episode without a decision")
        expected = {
            "observation": (observation, (steps + 1, task.observation.size)),
            "action": (action, (steps, task.action.size)),
            "reward": (reward, (steps,)),
        }
        for name, (array, shape) in expected.items():
            if np.shape(array) != shape:
                raise DatasetError(f"{task.name}: {name} is {np.shape(array)}, expected {shape}")
            if not np.isfinite(array).all():
                place = np.argwhere(~np.isfinite(array))[0].tolist()
                raise DatasetError(f"{task.name}: {name}{place} is not finite")
        if np.abs(action).max() > 1 + 1e-6:
            raise DatasetError(
                f"{task.name}: actions reach {np.abs(action).max():.4g}, expected [-1, 1]"
            )
        padded_observation = np.zeros((steps + 1, self._widths[0]), "<f4")
        padded_observation[:, : task.observation.size] = observation
        padded_action = np.zeros((steps + 1, self._widths[1]), "<f4")
        padded_action[1:, : task.action.size] = action
        padded_action[0] = np.nan
        first_nan = np.concatenate([[np.nan], reward]).astype("<f4")
        return padded_observation, padded_action, first_nan
