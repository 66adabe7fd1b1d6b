# SPDX-License-Identifier: Apache-2.0
"""What the robot's episodes are kept in: a dataset to learn from, one to judge by; bounded. No ROS.

    ONLINE/training     episodes to learn from
    ONLINE/held_out     every so many episodes, by their number: these never train anything

Both are dataset directories of ``pwm_core``. The numbers of the episodes go on over restarts, so
that an episode that has judged once is never trained on later.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from pwm_core.data.dataset import ARRAYS, Dataset, DatasetError, DatasetWriter, TaskInfo, Trajectory
from pwm_core.data.writer import in_blocks
from pwm_core.finetuning.held_out import lack_of_windows
from pwm_finetune.transitions import Stretch

TRAINING, HELD_OUT = "training", "held_out"
ONLINE = "online"
"""Behaviour of every episode of a snapshot."""
KEPT_SHARE = 0.75
"""Part of the bytes allowed that is left when the oldest episodes are dropped."""


@dataclass(frozen=True)
class Bounds:
    """How much is recorded, and what becomes of it."""

    max_bytes: float
    """Most bytes of all episodes, once there is time to make room."""
    drop_oldest: bool
    """When there are more: drop the oldest episodes; else record no more."""
    held_out_every: int
    """Of so many episodes the last one judges and does not train."""
    shortest: int = 1
    """Decisions of the shortest stretch that is kept."""


class OnlineData:
    """The two datasets, open for writing. One process at a time."""

    def __init__(self, directory: Path, task: TaskInfo, bounds: Bounds) -> None:
        """Create or reopen ``directory``; ``DatasetError`` when it holds another task's data."""
        self.directory, self._task, self._bounds = directory, task, bounds
        self._writers = {name: self._open(name) for name in (TRAINING, HELD_OUT)}
        seeds = [int(w.episodes.column("seed").max(initial=-1)) for w in self._writers.values()]
        self._episode = max(seeds)
        self._heard: int | None = None
        self.full = False
        """Whether recording has stopped for want of room."""
        self._overfull = False

    def _open(self, name: str) -> DatasetWriter:
        path = self.directory / name
        _finish_exchange(path)
        return DatasetWriter(path, [self._task])

    def add(self, stretch: Stretch) -> None:
        """Write a stretch, unless it is short or there is no room.

        ``DatasetError`` when it cannot be written.
        """
        number = self._number(stretch.episode)
        if self.full or len(stretch.reward) < self._bounds.shortest:
            return
        trajectory = Trajectory(
            self._task.name,
            stretch.policy,
            number,
            stretch.observation,
            stretch.action.clip(-1.0, 1.0),
            stretch.reward,
            stretch.terminated,
        )
        every = self._bounds.held_out_every
        name = HELD_OUT if number % every == every - 1 else TRAINING
        self._writers[name].extend([trajectory])
        too_large = self.bytes > self._bounds.max_bytes
        self.full = too_large and not self._bounds.drop_oldest
        self._overfull = too_large and self._bounds.drop_oldest

    def _number(self, heard: int) -> int:
        """Return the number of an episode here; stretches of one episode come one after another."""
        if heard != self._heard:
            self._heard = heard
            self._episode += 1
        return self._episode

    @property
    def bytes(self) -> int:
        """Bytes of both datasets' arrays."""
        files = (self.directory / d / f"{a}.f32" for d in self._writers for a in ARRAYS)
        return sum(file.stat().st_size for file in files if file.exists())

    def transitions(self, name: str) -> int:
        """Return the transitions of one dataset."""
        return int(self._writers[name].episodes.length.sum())

    def lack_of_windows(self) -> str:
        """Return why a gate cannot judge by the held-out episodes; empty if it can.

        Its windows are as long as the shortest stretch that is kept, at most.
        """
        return lack_of_windows(self._writers[HELD_OUT].episodes, self._bounds.shortest)

    @property
    def episodes(self) -> int:
        """Episodes recorded since the beginning, dropped ones too."""
        return self._episode + 1

    def make_room(self) -> None:
        """Drop the oldest episodes if there is too much and they may be dropped.

        What is kept is written anew: on a slow disk that takes its time, so that nothing that must
        be answered soon may wait for it. What has failed is tried again after the next episode.
        """
        if not self._overfull:
            return
        self._overfull = False
        share = KEPT_SHARE * self._bounds.max_bytes / self.bytes
        for name, writer in self._writers.items():
            kept = round(share * len(writer.episodes))
            if kept < len(writer.episodes):
                _keep_newest(self.directory / name, self._task, kept)
                self._writers[name] = self._open(name)

    def snapshot(self, to: Path) -> float:
        """Write all episodes to the dataset ``to``; return the share that is held out.

        Training episodes come first, all under one behaviour, so that `pwm finetune` holds out just
        those that were chosen to be. What ``to`` held is replaced.
        """
        shutil.rmtree(to, ignore_errors=True)
        writer, counts = DatasetWriter(to, [self._task]), []
        for name in (TRAINING, HELD_OUT):
            dataset = Dataset(self.directory / name)
            found = (replace(dataset.trajectory(e), behaviour=ONLINE) for e in dataset.episodes)
            for block in in_blocks(found):
                writer.extend(block)
            counts.append(len(dataset.episodes))
        return counts[1] / sum(counts)


def _keep_newest(path: Path, task: TaskInfo, count: int) -> None:
    """Replace a dataset by its last ``count`` episodes, so that a crash loses no more."""
    kept = path.with_name(f"{path.name}.kept")
    shutil.rmtree(kept, ignore_errors=True)
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    writer = DatasetWriter(partial, [task])
    dataset = Dataset(path)
    newest = dataset.episodes[len(dataset.episodes) - count :]
    for block in in_blocks(dataset.trajectory(episode) for episode in newest):
        writer.extend(block)
    partial.rename(kept)
    shutil.rmtree(path)
    _finish_exchange(path)


def _finish_exchange(path: Path) -> None:
    """Complete what :func:`_keep_newest` had begun when a crash came."""
    kept = path.with_name(f"{path.name}.kept")
    if kept.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        kept.rename(path)


__all__ = ["HELD_OUT", "TRAINING", "Bounds", "DatasetError", "OnlineData"]
