# SPDX-License-Identifier: Apache-2.0
"""Run a comparison's jobs, side by side in processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from pwm_core.evaluation.cloning import CloningConfig
from pwm_core.evaluation.comparison import Job, MultiTaskCloning, MultiTaskTraining
from pwm_core.evaluation.score import Score
from pwm_core.tasks.shift import NOMINAL, Shift
from pwm_core.workers import job_pool


@dataclass(frozen=True)
class MultiTask:
    """The clone over all tasks of a dataset: trained once, then run on ``tasks``."""

    data: Path
    tasks: Sequence[str]
    seeds: tuple[int, ...]
    config: CloningConfig
    shift: Shift = NOMINAL

    @property
    def training(self) -> MultiTaskTraining:
        return MultiTaskTraining(self.data, self.config)

    def jobs(self, trained: Mapping[str, np.ndarray]) -> list[Job]:
        """Return the trained clone on each task."""
        return [
            MultiTaskCloning(task, self.data, trained, self.seeds, self.config, self.shift)
            for task in self.tasks
        ]


def run_jobs(
    jobs: Sequence[Job], multi_task: MultiTask | None, workers: int, ray: str | None = None
) -> Iterator[Score]:
    """Yield the scores of ``jobs`` and of ``multi_task``, each network on one thread.

    On ``workers`` processes, or on the Ray cluster at ``ray``.
    """
    if workers <= 1 and not ray:
        torch.set_num_threads(1)  # networks this small lose by more
        yield from map(_run, jobs)
        if multi_task:
            yield from map(_run, multi_task.jobs(multi_task.training.run()))
        return
    with job_pool(workers, ray, partial(torch.set_num_threads, 1)) as pool:
        training = pool.submit(MultiTaskTraining.run, multi_task.training) if multi_task else None
        yield from pool.map(_run, jobs)
        if multi_task and training:
            yield from pool.map(_run, multi_task.jobs(training.result()))


def _run(job: Job) -> Score:
    return job.run()
