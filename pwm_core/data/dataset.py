# SPDX-License-Identifier: Apache-2.0
"""The dataset directory: episodes of one or many tasks as memory-mapped arrays.

    dataset.json      schema version, tasks with their layouts, array widths
    episodes.jsonl    one line per episode: task, behaviour, seed, start, length, return, checksum
    observation.f32   [rows, observation width]   little-endian float32, padded with zeros
    action.f32        [rows, action width]        in [-1, 1], padded with zeros
    reward.f32        [rows]

An episode of T decisions takes T + 1 rows. As in TD-MPC2's files, row t's action and reward lead
*to* row t's observation; those of the first row are NaN. An episode exists once its line in
``episodes.jsonl`` is complete: a crash loses at most the ones being written, appending costs the
same however large the dataset is, and others may read meanwhile.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from pwm_core.data.episodes import Episode, EpisodeTable, read_table
from pwm_core.data.schema import SCHEMA_VERSION, DatasetError, Schema, TaskInfo, read_schema_file
from pwm_core.data.writer import ARRAYS, DatasetWriter, Trajectory, checksum, require_bytes

__all__ = [
    "ARRAYS",
    "SCHEMA_VERSION",
    "Dataset",
    "DatasetError",
    "DatasetWriter",
    "Episode",
    "EpisodeTable",
    "TaskInfo",
    "Trajectory",
]


class Dataset:
    """A dataset directory, opened for reading; arrays stay on disk."""

    def __init__(self, path: str | Path) -> None:
        """Open ``path``; ``DatasetError`` names the file that is missing, short or too new."""
        self.path = Path(path)
        table = self.path / "episodes.jsonl"
        # The table first: a writer adds a task to the header before its first episode.
        self.episodes, self._table_bytes = read_table(table)
        self._header = read_schema_file(self.path)
        self.schema = Schema.parse(self._header, self.path / "dataset.json")
        if not self.episodes:
            raise DatasetError(f"{self.path} holds no complete episode yet")
        unknown = [task for task in self.episodes.tasks if task not in self.tasks]
        if unknown:
            raise DatasetError(f"{table}: dataset.json describes no task {unknown[0]!r}")
        rows = int(self.episodes.stop.max())
        self.observation = self._map("observation", (rows, self.widths[0]))
        self.action = self._map("action", (rows, self.widths[1]))
        self.reward = self._map("reward", (rows,))

    def _map(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        file = self.path / f"{name}.f32"
        require_bytes(file, 4 * int(np.prod(shape)))
        return np.memmap(file, "<f4", "r", shape=shape)

    @property
    def tasks(self) -> dict[str, TaskInfo]:
        """The tasks by name, in the order of ``dataset.json``."""
        return self.schema.tasks

    @property
    def widths(self) -> tuple[int, int]:
        """Entries per row of observation and action."""
        return self.schema.observation_width, self.schema.action_width

    def of_task(self, task: str) -> EpisodeTable:
        """Return the episodes of ``task``; ``DatasetError`` names the tasks present otherwise."""
        if task not in self.tasks:
            raise DatasetError(
                f"{self.path} has no task {task!r}; it has {', '.join(sorted(self.tasks))}"
            )
        return self.episodes.of_task(task)

    def trajectory(self, episode: Episode) -> Trajectory:
        """Return an episode without padding, as it was written."""
        task, rows = self.tasks[episode.task], episode.rows
        return Trajectory(
            episode.task,
            episode.behaviour,
            episode.seed,
            np.array(self.observation[rows, : task.observation.size]),
            np.array(self.action[rows, : task.action.size][1:]),
            np.array(self.reward[rows][1:]),
            episode.terminated,
            episode.success,
        )

    def checksum(self, episode: Episode) -> int:
        """Return the CRC-32 of an episode's bytes as they are now."""
        rows = episode.rows
        return checksum(self.observation[rows], self.action[rows], self.reward[rows])

    def validate(self) -> None:
        """Read everything; ``DatasetError`` with the first of ``validation.problems``."""
        from pwm_core.data.validation import problems  # which reads datasets, so not above

        for problem in problems(self):
            raise DatasetError(problem)

    def fingerprint(self) -> str:
        """Return a SHA-256 over header and episode table, which holds every checksum."""
        digest = hashlib.sha256(self._header)
        with open(self.path / "episodes.jsonl", "rb") as table:
            remaining = self._table_bytes  # lines appended since are not part of this dataset
            while block := table.read(min(remaining, 1 << 20)):
                digest.update(block.replace(b"\n", b""))
                remaining -= len(block)
        return digest.hexdigest()
