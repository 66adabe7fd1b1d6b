# SPDX-License-Identifier: Apache-2.0
"""Fill a dataset directory: jobs run in parallel, episodes are written in one fixed order."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pwm_core.data.behaviours import Behaviour, BehaviourError, Trajectory
from pwm_core.data.dataset import DatasetWriter, TaskInfo
from pwm_core.progress import ProgressDisplay
from pwm_core.tasks import get_task
from pwm_core.tasks.shift import NOMINAL, Shift
from pwm_core.workers import job_pool


@dataclass(frozen=True)
class Job:
    """A few episodes of one task by one behaviour; small enough that little is lost on a crash.

    A whole block is collected, however few of its episodes are wanted: they share random numbers,
    and episode ``k`` is to be the same whether or not the next one was asked for too.
    """

    task: str
    behaviour: Behaviour
    first: int
    """Number of its first episode within task and behaviour."""
    episodes: int
    """Episodes wanted of the block."""
    seed: int
    shift: Shift = NOMINAL
    """What is different about the robot."""

    @property
    def source(self) -> str:
        """Name the behaviour in the data: ``mpc-0.2``, and ``mpc-0.2@1`` of seed 1.

        On a robot that has shifted: ``uniform+actuator_gain=0.6``.
        """
        name = (
            self.behaviour.name if self.shift == NOMINAL else f"{self.behaviour.name}+{self.shift}"
        )
        return f"{name}@{self.seed}" if self.seed else name

    def run(self) -> list[Trajectory]:
        """Collect the episodes; the result depends on nothing but the job."""
        block = self.behaviour.block or self.episodes
        collected = self.behaviour.collect(
            self.shift.of(get_task(self.task)), block, self._own_seed()
        )
        return collected[: self.episodes]

    def identities(self) -> list[tuple[str, str, int]]:
        """Return task, behaviour and number of each episode, which tell it from all others."""
        return [(self.task, self.source, self.first + i) for i in range(self.episodes)]

    def _own_seed(self) -> int:
        identity = f"{self.seed}/{self.task}/{self.behaviour.name}/{self.first}"
        return zlib.crc32(identity.encode()) % 2**31


def plan(
    tasks: Sequence[str],
    behaviours: Sequence[tuple[Behaviour, int]],
    seed: int,
    shift: Shift = NOMINAL,
) -> list[Job]:
    """Return the jobs for so many episodes of each behaviour on each task that it suits.

    ``BehaviourError`` names a task that none of them suits.
    """
    jobs = []
    for task in tasks:
        robot = shift.of(get_task(task))
        suited = [(b, count) for b, count in behaviours if count and b.suits(robot)]
        if not suited:
            names = ", ".join(b.name for b, count in behaviours if count) or "none"
            raise BehaviourError(f"{task}: no behaviour asked for can act on it (asked: {names})")
        for behaviour, count in suited:
            block = behaviour.block or count
            jobs += [
                Job(task, behaviour, first, min(block, count - first), seed, shift)
                for first in range(0, count, block)
            ]
    return jobs


def collect(jobs: Sequence[Job], out: Path, workers: int, ray: str | None = None) -> DatasetWriter:
    """Run ``jobs`` into ``out``; episodes already there are kept.

    They run on ``workers`` processes, or on the Ray cluster at ``ray``; this process alone writes.
    """
    tasks = list(dict.fromkeys(job.task for job in jobs))
    writer = DatasetWriter(out, [TaskInfo.of(get_task(task)) for task in tasks])
    wanted = {identity for job in jobs for identity in job.identities()}
    present = {(e.task, e.behaviour, e.seed) for e in writer.episodes} & wanted
    done = len(present)
    todo = [job for job in jobs if not present.issuperset(job.identities())]
    with ProgressDisplay("collect", len(wanted), "episodes", start=done) as progress:
        for job, trajectories in _results(todo, workers, ray):
            for identity, episode in zip(job.identities(), trajectories, strict=True):
                if identity in present:
                    continue
                writer.append(
                    *identity,
                    episode.observation,
                    episode.action,
                    episode.reward,
                    episode.terminated,
                    episode.success,
                )
                done += 1
                progress.update(done, {"now": f"{job.task} {job.source}"})
    return writer


def _results(
    jobs: Sequence[Job], workers: int, ray: str | None
) -> Iterator[tuple[Job, list[Trajectory]]]:
    if workers <= 1 and not ray:
        for job in jobs:
            yield job, job.run()
        return
    with job_pool(workers, ray) as pool:
        yield from zip(jobs, pool.map(Job.run, jobs), strict=True)
