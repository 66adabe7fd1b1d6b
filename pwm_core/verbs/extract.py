# SPDX-License-Identifier: Apache-2.0
"""``pwm extract``: one policy per task by first-order gradients through the frozen world model."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pwm_core.data.dataset import Dataset
from pwm_core.device import resolve_device
from pwm_core.extraction.runner import Extraction, ExtractionConfig, ExtractionOptions
from pwm_core.files import sha256
from pwm_core.model.store import TrainedWorldModel
from pwm_core.pretraining.quality import exploited, too_poor
from pwm_core.tables import print_table
from pwm_core.workers import worker_pool

REFUSED = 3


@dataclass(frozen=True)
class Extract:
    """Extract policies from a world model; tasks run side by side. Interrupted runs resume."""

    world_model: Path = Path("runs/world_model/world_model.safetensors")
    """Result of ``pwm pretrain``."""
    data: Path = Path("runs/data")
    """Dataset whose observations are the start states of imagination."""
    out: Path = Path("runs/policies")
    """Directory of the runs; ``TASK/policy.safetensors`` is the result."""
    tasks: tuple[str, ...] = ()
    """Tasks to extract; all that the world model knows when none is given."""
    iterations: int = 400
    """Actor updates (published: 10,000)."""
    batch: int = 64
    """Imagined rollouts per iteration (published: 512; 32 was best on Ant)."""
    horizon: int = 16
    """Decisions per rollout."""
    actor_hidden: tuple[int, ...] = (256, 128)
    """Hidden layers of the actor (published: 400 200 100)."""
    critic_hidden: tuple[int, ...] = (256, 128)
    """Hidden layers of the critics (published: 400 200)."""
    critics: int = 3
    """Critics in the ensemble."""
    critic_passes: int = 4
    """Critic passes over the imagined states per iteration (published: 8)."""
    critic_batches: int = 4
    """Mini-batches per pass."""
    learning_rate: float = 5e-4
    """Learning rate of actor and critics, linear to 1e-5."""
    seed: int = 0
    """Seed of weights, start states and noise."""
    strict: bool = False
    """Refuse (exit 3) a world model too poor to trust, and policies that exploit it."""
    workers: int = os.cpu_count() or 1
    """Tasks extracted at the same time on a CPU."""
    threads: int = 1
    """CPU threads per task; networks of the default sizes lose by more."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 …"""
    compile: bool = False
    """Compile the networks; pays from a few thousand iterations on."""
    json: bool = False
    """Print the table as JSON."""

    def run(self) -> int:
        """Extract, then print imagined and real return side by side."""
        trained = TrainedWorldModel.load(self.world_model, torch.device("cpu"))
        names = self.tasks or tuple(task.name for task in trained.tasks)
        for name in names:
            trained.task_index(name)
        refused = self._complain(too_poor(trained.quality))
        if refused:
            return REFUSED
        jobs = [self._job(name) for name in names]
        rows = self._run(jobs)
        print_table("Extracted policies (return per episode)", rows, self.json)
        problems = [self._complain(exploited(_figures(row)), row["task"]) for row in rows]
        return REFUSED if any(problems) else 0

    def _complain(self, problem: str | None, subject: str = "world model") -> bool:
        """Print ``problem``; return whether it must stop the command."""
        if problem:
            print(
                f"{'refused' if self.strict else 'WARNING'}: {subject}: {problem}", file=sys.stderr
            )
        return bool(problem) and self.strict

    def _job(self, task: str) -> Job:
        config = ExtractionConfig(
            iterations=self.iterations,
            batch=self.batch,
            horizon=self.horizon,
            actor_hidden=self.actor_hidden,
            critic_hidden=self.critic_hidden,
            critics=self.critics,
            critic_passes=self.critic_passes,
            critic_batches=self.critic_batches,
            lam=0.95,
            actor_rate=self.learning_rate,
            critic_rate=self.learning_rate,
            final_rate=1e-5,
            betas=(0.7, 0.95),
            actor_clip=1.0,
            critic_clip=100.0,
            sigma_floor=0.24,
            seed=self.seed,
        )
        options = ExtractionOptions(device=self.device, compile=self.compile)
        return Job(self.world_model, self.data, task, self.out / task, config, options)

    def _run(self, jobs: list[Job]) -> list[dict[str, Any]]:
        side_by_side = min(self.workers, len(jobs))
        torch.set_num_threads(self.threads)
        if side_by_side == 1 or resolve_device(self.device).type != "cpu":
            return [job.run() for job in jobs]
        with worker_pool(
            side_by_side, prepare=partial(torch.set_num_threads, self.threads)
        ) as pool:
            return list(pool.map(Job.run, jobs))


@dataclass(frozen=True)
class Job:
    """One task's extraction, runnable in a process of its own."""

    world_model: Path
    data: Path
    task: str
    out: Path
    config: ExtractionConfig
    options: ExtractionOptions

    def run(self) -> dict[str, Any]:
        """Extract and return a row of the table."""
        trained = TrainedWorldModel.load(self.world_model, torch.device("cpu"))
        dataset = Dataset(self.data)
        inputs = {"world_model": sha256(self.world_model), "dataset": dataset.fingerprint()}
        extraction = Extraction(trained, dataset, self.task, self.out, self.config, self.options)
        training = extraction.run(inputs).record["training"]
        return {
            "task": self.task,
            "imagined": training["imagined_return"],
            "real": training["real_return"],
            "policy": str(self.out / "policy.safetensors"),
        }


def _figures(row: dict[str, Any]) -> dict[str, float]:
    return {"imagined_return": row["imagined"], "real_return": row["real"]}
