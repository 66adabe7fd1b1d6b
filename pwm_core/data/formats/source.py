# SPDX-License-Identifier: Apache-2.0
"""What an importer offers, and the loop that writes it to a dataset directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from pwm_core.data.dataset import DatasetWriter, TaskInfo, Trajectory
from pwm_core.data.schema import DatasetError
from pwm_core.data.writer import BadTrajectoryError, in_blocks
from pwm_core.errors import PwmError
from pwm_core.progress import ProgressDisplay


class FormatError(PwmError):
    """A file of another format that cannot be imported; the message names file, place and value."""


class Source(Protocol):
    """A file of another format, opened."""

    path: Path
    name: str
    """Names the source in the episode table: what chose the actions, or the file."""
    tasks: list[TaskInfo]
    episodes: int
    """Number of episodes, counted from 0 in the order of the file."""

    def trajectories(self, numbers: Iterator[int]) -> Iterator[Trajectory]:
        """Yield these episodes; ``seed`` is the number in the file."""
        ...


def import_sources(sources: list[Source], out: Path) -> DatasetWriter:
    """Write every episode of ``sources`` to ``out``; those that are there already are kept.

    ``FormatError`` names the file and the episode that does not fit; what came before is kept.
    """
    names = [source.name for source in sources]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise FormatError(f"several files are called {repeated}: import them one at a time")
    tasks = {task.name: task for source in sources for task in source.tasks}
    writer = DatasetWriter(out, tasks.values())
    present = {source.name: _present(writer, source) for source in sources}
    done, total = sum(map(len, present.values())), sum(s.episodes for s in sources)
    with ProgressDisplay("import", total, "episodes", start=done) as progress:
        for source in sources:
            missing = (n for n in range(source.episodes) if n not in present[source.name])
            for block in in_blocks(source.trajectories(missing)):
                try:
                    writer.extend(block)
                except BadTrajectoryError as error:
                    raise FormatError(f"{source.path}: {error}") from error
                done += len(block)
                progress.update(done, {"file": source.path.name})
    return writer


def _present(writer: DatasetWriter, source: Source) -> set[int]:
    """Return the numbers of the source's episodes that are in the dataset.

    ``DatasetError`` when the first or the last of them is not the source's episode of that number.
    """
    table = writer.episodes.of_behaviour(source.name)
    numbers = set(table.column("seed").tolist())
    ends = {episode.seed: episode for episode in (table[0], table[-1])} if numbers else {}
    again = source.trajectories(number for number in ends if number < source.episodes)
    checksums = {trajectory.seed: writer.checksum_of(trajectory) for trajectory in again}
    for number, episode in ends.items():
        if checksums.get(number) != episode.checksum:
            raise DatasetError(
                f"{writer.path}: {source.name} episode {number} is not that of {source.path}, "
                f"which has {source.episodes}: the file has changed since, or another of that "
                "name was imported"
            )
    return numbers
