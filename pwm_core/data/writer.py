# SPDX-License-Identifier: Apache-2.0
"""Append episodes to a dataset directory so that no crash and no full disk loses what was there."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pwm_core.data.episodes import Episode, read_table, to_line
from pwm_core.data.schema import DatasetError, Schema, TaskInfo

ARRAYS = ("observation", "action", "reward")
BLOCK_BYTES = 32_000_000
TOLERANCE = 1e-6
"""By how much an action may leave [-1, 1], for the rounding of other programs."""


class BadTrajectoryError(DatasetError):
    """An episode that is not written because of what is in it."""


@dataclass(frozen=True)
class Trajectory:
    """An episode that is not in a dataset yet."""

    task: str
    behaviour: str
    """What chose the actions."""
    seed: int
    """Number of the episode within its task and behaviour."""
    observation: np.ndarray
    """``[T + 1, O]``"""
    action: np.ndarray
    """``[T, A]`` in [-1, 1]."""
    reward: np.ndarray
    """``[T]``"""
    terminated: bool = False
    """Whether the last observation is a terminal state."""
    success: bool | None = None
    """Whether the task was solved; ``None`` where that is not known."""


def checksum(*arrays: np.ndarray) -> int:
    """Return the CRC-32 of the arrays' float32 bytes, one after the other."""
    value = 0
    for array in arrays:
        value = zlib.crc32(np.ascontiguousarray(array, "<f4").tobytes(), value)
    return value


def require_bytes(file: Path, needed: int) -> None:
    """Raise ``DatasetError`` when ``file`` has fewer bytes than ``needed``."""
    present = file.stat().st_size if file.is_file() else 0
    if present < needed:
        raise DatasetError(
            f"{file} has {present} bytes, the episode table needs {needed}: it was truncated"
        )


class DatasetWriter:
    """Append whole episodes to a new or existing directory. One writer at a time."""

    def __init__(self, path: str | Path, tasks: Iterable[TaskInfo] = ()) -> None:
        """Create or reopen ``path``; what a crash left half-written is cut off.

        ``tasks`` are those to be appended: a directory that exists may have others, and takes new
        ones as wide as its arrays. ``DatasetError`` when a task is described otherwise there.
        """
        self.path = Path(path)
        self._table_file = self.path / "episodes.jsonl"
        self._open_schema(list(tasks))
        self.episodes, self._table_bytes = read_table(self._table_file)
        self._rows = int(self.episodes.stop.max(initial=0))
        for file, size in self._sizes().items():
            require_bytes(file, size)
        self._cut_half_written()

    def _open_schema(self, tasks: list[TaskInfo]) -> None:
        if (self.path / "dataset.json").exists():
            present = Schema.read(self.path)
            self.schema = present.joined(tasks, self.path)
        elif tasks:
            present, self.schema = None, Schema.of(tasks)
            self.path.mkdir(parents=True, exist_ok=True)
        else:
            raise DatasetError(f"{self.path} is no dataset, and no task is given to start one")
        if self.schema != present:
            self.schema.write(self.path)

    def _sizes(self) -> dict[Path, int]:
        """Return how many bytes of each file belong to complete episodes."""
        widths = (self.schema.observation_width, self.schema.action_width, 1)
        arrays = {
            self.path / f"{name}.f32": 4 * self._rows * width
            for name, width in zip(ARRAYS, widths, strict=True)
        }
        return arrays | {self._table_file: self._table_bytes}

    def _cut_half_written(self) -> None:
        """Cut off what is not of complete episodes, the table first.

        It may name rows by then; killed in between, it would name rows that are gone.
        """
        for path, size in reversed(self._sizes().items()):
            with open(path, "ab") as file:
                file.truncate(size)

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
        """Write one episode, whose arguments are :class:`Trajectory`'s fields."""
        arrays = observation, action, reward
        return self.extend([Trajectory(task, behaviour, seed, *arrays, terminated, success)])[0]

    def extend(self, trajectories: Sequence[Trajectory]) -> list[Episode]:
        """Write several episodes at once: all or none.

        ``BadTrajectoryError`` names the episode, the array, the place and what was expected;
        ``DatasetError`` says why the disk refused. Nothing is written then.
        """
        padded = [self._padded(trajectory) for trajectory in trajectories]
        episodes, start = [], self._rows
        for trajectory, arrays in zip(trajectories, padded, strict=True):
            episodes.append(_episode(trajectory, start, checksum(*arrays)))
            start = episodes[-1].rows.stop
        columns = [b"".join(array.tobytes() for array in c) for c in zip(*padded, strict=True)]
        lines = "".join(map(to_line, episodes)).encode()
        self._write([*columns, lines])
        self._rows, self._table_bytes = start, self._table_bytes + len(lines)
        for episode in episodes:
            self.episodes.append(episode)
        return episodes

    def checksum_of(self, trajectory: Trajectory) -> int:
        """Return the checksum ``trajectory`` has, or would have, in this dataset."""
        return checksum(*self._padded(trajectory))

    def _write(self, blocks: Sequence[bytes]) -> None:
        """Append ``blocks`` to the arrays and, last, to the table; cut them off if one fails."""
        self._require_alone()
        try:
            for path, block in zip(self._sizes(), blocks, strict=True):
                _append(path, block)
        except OSError as error:
            self._cut_half_written()
            free = shutil.disk_usage(self.path).free / 1e6
            raise DatasetError(
                f"{self.path}: writing {sum(map(len, blocks)) / 1e6:.3g} MB failed "
                f"({error.strerror}), {free:.3g} MB are free there. The {len(self.episodes)} "
                "episodes before are whole: make room, and the same command goes on from there"
            ) from error
        except BaseException:
            self._cut_half_written()
            raise

    def _require_alone(self) -> None:
        for path, size in self._sizes().items():
            present = path.stat().st_size
            if present != size:
                raise DatasetError(
                    f"{path} has {present} bytes, expected {size}: another process writes to it"
                )

    def _padded(self, trajectory: Trajectory) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the rows of the three arrays, or raise ``BadTrajectoryError``."""
        task = self._task(trajectory)
        steps = len(trajectory.reward)
        _check(trajectory, task)
        observation = np.zeros((steps + 1, self.schema.observation_width), "<f4")
        observation[:, : task.observation.size] = trajectory.observation
        action = np.zeros((steps + 1, self.schema.action_width), "<f4")
        action[1:, : task.action.size] = trajectory.action
        action[0] = np.nan
        return observation, action, np.concatenate([[np.nan], trajectory.reward]).astype("<f4")

    def _task(self, trajectory: Trajectory) -> TaskInfo:
        try:
            return self.schema.tasks[trajectory.task]
        except KeyError:
            known = ", ".join(self.schema.tasks)
            raise BadTrajectoryError(
                f"{self.path} has no task {trajectory.task!r}; it has {known}"
            ) from None


def _episode(trajectory: Trajectory, start: int, value: int) -> Episode:
    return Episode(
        trajectory.task,
        trajectory.behaviour,
        trajectory.seed,
        start,
        len(trajectory.reward),
        float(np.sum(trajectory.reward)),
        value,
        bool(trajectory.terminated),
        None if trajectory.success is None else bool(trajectory.success),
    )


def _check(trajectory: Trajectory, task: TaskInfo) -> None:
    """Raise ``BadTrajectoryError`` for a wrong shape, a number that is not finite or too large."""
    name = f"{task.name}, {trajectory.behaviour} episode {trajectory.seed}"
    steps = len(trajectory.reward)
    if steps == 0:
        raise BadTrajectoryError(f"{name}: an episode without a decision")
    expected = {
        "observation": (steps + 1, task.observation.size),
        "action": (steps, task.action.size),
        "reward": (steps,),
    }
    for field, shape in expected.items():
        with np.errstate(over="ignore"):
            array = np.asarray(vars(trajectory)[field], np.float32)
        if array.shape != shape:
            raise BadTrajectoryError(f"{name}: {field} is {array.shape}, expected {shape}")
        if not np.isfinite(array).all():
            place = np.argwhere(~np.isfinite(array))[0].tolist()
            raise BadTrajectoryError(
                f"{name}: {field}{place} is not finite ({array[tuple(place)]} as float32)"
            )
    outside = np.abs(trajectory.action) > 1 + TOLERANCE
    if outside.any():
        place = np.argwhere(outside)[0].tolist()
        largest = np.abs(trajectory.action).max()
        raise BadTrajectoryError(
            f"{name}: actions reach {largest:.4g}, expected [-1, 1]; the first outside is "
            f"action{place} = {np.asarray(trajectory.action)[tuple(place)]:.4g}"
        )


def _append(path: Path, block: bytes) -> None:
    """Write ``block`` at the end of a file and wait for the disk."""
    with open(path, "ab") as file:
        file.write(block)
        file.flush()
        os.fsync(file.fileno())


def in_blocks(trajectories: Iterable[Trajectory]) -> Iterator[list[Trajectory]]:
    """Gather ``trajectories`` to blocks of about ``BLOCK_BYTES`` for ``DatasetWriter.extend``.

    So the disk is waited for once per block instead of once per episode.
    """
    block: list[Trajectory] = []
    size = 0
    for trajectory in trajectories:
        block.append(trajectory)
        size += trajectory.observation.nbytes + trajectory.action.nbytes + trajectory.reward.nbytes
        if size >= BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block
