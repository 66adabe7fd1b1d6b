# SPDX-License-Identifier: Apache-2.0
"""Fill a dataset directory: jobs run in parallel, episodes are written in one fixed order."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pwm_core.data.behaviours import Behaviour, Rollouts
from pwm_core.data.dataset import DatasetWriter, TaskInfo
from pwm_core.progress import ProgressDisplay
from pwm_core.tasks import get_task
from pwm_core.workers import worker_pool

EPISODES_PER_JOB = 2


@dataclass(frozen=True)
class Job:
    """A few episodes of one task by one behaviour; small enough that little is lost on a crash."""

    task: str
    behaviour: Behaviour
    first: int
    """Number of its first episode within task and behaviour."""
    episodes: int
    seed: int

    def run(self) -> Rollouts:
        """Collect the episodes; the result depends on nothing but the job."""
        return self.behaviour.collect(get_task(self.task), self.episodes, self._own_seed())

    def _own_seed(self) -> int:
        identity = f"{self.seed}/{self.task}/{self.behaviour.name}/{self.first}"
        return zlib.crc32(identity.encode()) % 2**31


def plan(tasks: Sequence[str], behaviours: Sequence[tuple[Behaviour, int]], seed: int) -> list[Job]:
    """Return the jobs for so many episodes of each behaviour on each task."""
    return [
        Job(task, behaviour, first, min(EPISODES_PER_JOB, count - first), seed)
        for task in tasks
        for behaviour, count in behaviours
        for first in range(0, count, EPISODES_PER_JOB)
    ]


def collect(jobs: Sequence[Job], out: Path, workers: int) -> DatasetWriter:
    """Run ``jobs`` on ``workers`` processes into ``out``; episodes already there are kept."""
    tasks = list(dict.fromkeys(job.task for job in jobs))
    writer = DatasetWriter(out, [TaskInfo.of(get_task(task)) for task in tasks])
    present = {(e.task, e.behaviour, e.seed) for e in writer.episodes}
    total = sum(job.episodes for job in jobs)
    todo = [job for job in jobs if not _numbers(job) <= present]
    with ProgressDisplay("collect", total, "episodes", start=len(present)) as progress:
        for job, rollouts in _results(todo, workers):
            for i in range(job.episodes):
                if (job.task, job.behaviour.name, job.first + i) in present:
                    continue
                writer.append(
                    job.task,
                    job.behaviour.name,
                    job.first + i,
                    rollouts.observation[i],
                    rollouts.action[i],
                    rollouts.reward[i],
                )
                progress.update(len(writer.episodes), {"now": f"{job.task} {job.behaviour.name}"})
    return writer


def _numbers(job: Job) -> set[tuple[str, str, int]]:
    return {(job.task, job.behaviour.name, job.first + i) for i in range(job.episodes)}


def _results(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Rollouts]]:
    if workers <= 1:
        for job in jobs:
            yield job, job.run()
        return
    with worker_pool(workers) as pool:
        yield from zip(jobs, pool.map(Job.run, jobs), strict=True)
