# SPDX-License-Identifier: Apache-2.0
"""Join datasets; memory holds their tables and a block of episodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pwm_core.data.dataset import Dataset, DatasetError, DatasetWriter, Episode
from pwm_core.data.schema import Schema, TaskInfo
from pwm_core.data.writer import in_blocks
from pwm_core.progress import ProgressDisplay


def merge(datasets: Sequence[Dataset], out: Path, shortest: int = 1) -> DatasetWriter:
    """Write the episodes of ``datasets``, one after the other, to ``out``.

    The tasks are united; arrays become as wide as the widest. An episode that is in two of them
    (same task, behaviour and number) is written once if it is the same, else ``DatasetError``; so
    an interrupted merge goes on. Episodes with fewer than ``shortest`` decisions are left out.
    """
    if not datasets:
        raise DatasetError(f"nothing to merge into {out}: name one dataset directory or more")
    writer = DatasetWriter(out, united_tasks(datasets))
    present = {(e.task, e.behaviour, e.seed): e.checksum for e in writer.episodes}
    total, done = sum(len(dataset.episodes) for dataset in datasets), 0
    with ProgressDisplay("merge", total, "episodes") as progress:
        for dataset in datasets:
            chosen = _missing(dataset, writer, present, shortest)
            for block in in_blocks(dataset.trajectory(episode) for episode in chosen):
                for episode in writer.extend(block):
                    present[episode.task, episode.behaviour, episode.seed] = episode.checksum
            done += len(dataset.episodes)
            progress.update(done, {"from": str(dataset.path)})
    return writer


def united_tasks(datasets: Sequence[Dataset]) -> list[TaskInfo]:
    """Return every task once; ``DatasetError`` with the difference where two disagree."""
    union = Schema.of(datasets[0].tasks.values())
    for dataset in datasets[1:]:
        for task in dataset.tasks.values():
            known = union.tasks.get(task.name, task)
            difference = known.difference(task)
            if difference:
                raise DatasetError(
                    f"{dataset.path} describes {task.name} otherwise than the datasets before: "
                    + "; ".join(difference)
                )
        union = Schema.of({**union.tasks, **dataset.tasks}.values())
    return list(union.tasks.values())


def _missing(
    dataset: Dataset,
    writer: DatasetWriter,
    present: dict[tuple[str, str, int], int],
    shortest: int,
) -> Iterator[Episode]:
    """Yield the episodes that are long enough and not in ``writer`` yet."""
    for episode in dataset.episodes:
        if episode.length < shortest:
            continue
        there = present.get((episode.task, episode.behaviour, episode.seed))
        if there is None:
            yield episode
        elif there != writer.checksum_of(dataset.trajectory(episode)):
            raise DatasetError(
                f"{dataset.path}: {episode.task}, {episode.behaviour} episode {episode.seed} is in "
                f"{writer.path} with other content: collect it with another seed, "
                "or import it from a file of another name"
            )
