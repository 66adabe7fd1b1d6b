# SPDX-License-Identifier: Apache-2.0
"""``pwm extract``: one policy per task by first-order gradients through the frozen world model."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from pwm_core.cluster import RayPool
from pwm_core.data.dataset import Dataset
from pwm_core.device import keep_freed_memory, resolve_device, thread_choices
from pwm_core.errors import PwmError
from pwm_core.extraction.config import (
    ExtractionConfig,
    ExtractionOptions,
    Overrides,
    Preset,
    configure,
)
from pwm_core.extraction.diagnosis import Finding, exploited
from pwm_core.extraction.memory import free_bytes, room_of_a_worker, task_bytes, tasks_that_fit
from pwm_core.extraction.runner import Extraction, extract, simulator
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.files import sha256
from pwm_core.model.store import TrainedWorldModel
from pwm_core.pretraining.quality import too_poor
from pwm_core.tables import print_table
from pwm_core.tasks import UnknownTaskError, all_tasks
from pwm_core.workers import worker_pool

FAILED, REFUSED = 1, 3


@dataclass(frozen=True)
class Extract:
    """Extract policies from a world model; tasks run side by side. Interrupted runs resume."""

    world_model: Path = Path("runs/world_model/world_model.safetensors")
    """Result of ``pwm pretrain`` or ``pwm import-checkpoint``."""
    data: Path = Path("runs/data")
    """Dataset whose observations are the start states of imagination."""
    out: Path = Path("runs/policies")
    """Directory of the runs; ``TASK/policy.safetensors`` is the result."""
    tasks: tuple[str, ...] = ()
    """Tasks, or suites for those of their tasks that the world model knows; all that it knows when
    none is given."""
    preset: Preset = "default"
    """Settings to start from: default, paper (arXiv 2407.02466), released (its public code)."""
    overrides: Annotated[Overrides, tyro.conf.OmitArgPrefixes] = field(default_factory=Overrides)
    begin_from: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Begin with this policy's actor: a policy.safetensors, or a directory of an earlier run."""
    seed: int = 0
    """Seed of weights, start states and noise."""
    strict: bool = False
    """Refuse (exit 3) a world model too poor to trust, and policies that exploit it."""
    evaluate_every: int = 100
    """Iterations between evaluations."""
    evaluation_episodes: int = 4
    """Episodes per evaluation."""
    workers: int = os.cpu_count() or 1
    """Processes on a CPU; tasks are dealt out among them."""
    ray: str | None = None
    """Ray cluster to spread the work over instead: its address, auto for the running one, local to
    start one here with so many workers; with --device cuda a GPU for each (docs/scaling.md)."""
    tasks_at_once: int = 0
    """Tasks that share the model's work in a process; 0 takes all that fit into memory, 1 takes one
    after the other."""
    threads: int = 0
    """CPU threads per process; 0 measures at the start how many of its share of the cores pay (with
    ``--compile`` or ``--ray``: one)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 …"""
    compile: bool = False
    """Compile the critics' gradient: on a CPU no gain was measured (docs/performance.md)."""
    cuda_graph: bool = True
    """On a GPU: start each iteration as one CUDA graph."""
    json: bool = False
    """Print the table as JSON."""

    def run(self) -> int:
        """Extract, then print imagined and real return side by side; 1 when a task failed."""
        trained = TrainedWorldModel.load(self.world_model, torch.device("cpu"))
        names = select(self.tasks, trained)
        if self._doubt(trained, names):
            return REFUSED
        config = configure(self.preset, self.overrides, self.seed)
        for name in names:
            simulator(name, config.evaluate)
        origin = {name: self._origin(name) for name in names}
        processes = min(self.workers, len(names))
        jobs = [self._job(name, config, origin[name], processes) for name in names]
        outcomes = self._run(jobs, trained)
        rows = [outcome.row() for outcome in outcomes]
        print_table("Extracted policies (return per episode)", rows, self.json)
        return self._conclude(outcomes)

    def _conclude(self, outcomes: list[Outcome]) -> int:
        """Print what went wrong, and return the exit status."""
        status = 0
        for outcome in outcomes:
            if outcome.error:
                print(f"FAILED: {outcome.task}: {outcome.error}", file=sys.stderr)
            elif self._complain(exploited(outcome.training), outcome.task):
                status = REFUSED
            for finding in outcome.findings:
                print(f"{outcome.task}: {finding}", file=sys.stderr)
        return FAILED if any(outcome.error for outcome in outcomes) else status

    def _doubt(self, trained: TrainedWorldModel, names: list[str]) -> bool:
        """Complain of tasks of which the model is too poor, once where it says the same of all."""
        problems = {name: too_poor(trained.quality, name) for name in names}
        if len(set(problems.values())) == 1:
            return self._complain(problems[names[0]], "world model")
        found = [self._complain(text, f"world model, {name}") for name, text in problems.items()]
        return any(found)

    def _complain(self, problem: str | None, subject: str) -> bool:
        """Print ``problem``; return whether it must stop the command."""
        if problem:
            word = "refused" if self.strict else "WARNING"
            print(f"{word}: {subject}: {problem}", file=sys.stderr)
        return bool(problem) and self.strict

    def _origin(self, task: str) -> Path | None:
        if self.begin_from is None or self.begin_from.is_file():
            return self.begin_from
        return self.begin_from / task / "policy.safetensors"

    def _job(
        self,
        task: str,
        config: ExtractionConfig,
        origin: Path | None = None,
        processes: int = 1,
    ) -> Job:
        options = ExtractionOptions(
            self.device,
            self.compile,
            self.evaluate_every,
            self.evaluation_episodes,
            cuda_graph=self.cuda_graph,
            threads=self._threads(processes),
        )
        return Job(self.world_model, self.data, task, self.out / task, config, options, origin)

    def _threads(self, processes: int) -> tuple[int, ...]:
        """Return the numbers of CPU threads that each of so many processes may choose from.

        Compiled code is for one number of threads: each that was tried would be compiled.
        """
        if self.threads or self.ray or self.compile:
            return (self.threads or 1,)
        return thread_choices(max(1, (os.cpu_count() or 1) // processes))

    def _run(self, jobs: list[Job], trained: TrainedWorldModel) -> list[Outcome]:
        """Run all ``jobs``; one that fails does not stop the others, unless it is the only one."""
        _prepare(self.threads)
        if len(jobs) == 1 and not self.ray:
            return [jobs[0].run()]
        found: dict[str, Outcome] = {}
        for outcomes in self._groups(jobs, trained):
            for outcome in outcomes:
                found[outcome.task] = outcome
                print(f"extract: {len(found)}/{len(jobs)} tasks · {outcome}", file=sys.stderr)
        return [found[job.task] for job in jobs]

    def _groups(self, jobs: list[Job], trained: TrainedWorldModel) -> Iterator[list[Outcome]]:
        """Yield what came of each group of ``jobs`` when it is done."""
        prepare = partial(_prepare, self.threads)
        if self.ray:
            with RayPool(self.ray, self.workers, prepare, int("cuda" in self.device)) as cluster:
                room = cluster.submit(room_of_a_worker, self.device).result()
                groups = self._dealt(jobs, trained, cluster.slots, room)
                yield from _as_they_finish(cluster, groups)
            return
        device = resolve_device(self.device)
        workers = min(self.workers, len(jobs)) if device.type == "cpu" else 1
        groups = self._dealt(jobs, trained, workers, free_bytes(device) // workers)
        if workers == 1:
            yield from map(extract_together, groups)
            return
        with worker_pool(workers, prepare) as pool:
            yield from _as_they_finish(pool, groups)

    def _dealt(
        self, jobs: list[Job], trained: TrainedWorldModel, workers: int, room: int
    ) -> list[list[Job]]:
        """Return groups of jobs that fit into ``room`` bytes, one for each worker at least."""
        model, config, workers = trained.model.config, jobs[0].config, min(workers, len(jobs))
        at_once = self.tasks_at_once or tasks_that_fit(room, model, config)
        groups = dealt(jobs, workers, at_once)
        print(
            f"extract: {len(jobs)} tasks, {len(groups[0])} side by side in each of {workers} "
            f"process(es); about {task_bytes(model, config) / 2**20:.0f} MiB a task, "
            f"{room / 2**30:.1f} GiB free for each process",
            file=sys.stderr,
        )
        return groups


def _prepare(threads: int) -> None:
    torch.set_num_threads(threads or 1)
    keep_freed_memory()


def _as_they_finish(pool: Executor, groups: Sequence[list[Job]]) -> Iterator[list[Outcome]]:
    futures = {pool.submit(extract_together, group): group for group in groups}
    for future in as_completed(futures):
        yield _outcomes(futures[future], future)


def dealt(jobs: Sequence[Job], workers: int, at_once: int) -> list[list[Job]]:
    """Return groups of at most ``at_once`` jobs, one for each of ``workers`` at least."""
    count = max(workers, -(-len(jobs) // at_once))
    return [list(jobs[first::count]) for first in range(count)]


@dataclass(frozen=True)
class Outcome:
    """What came of one task."""

    task: str
    policy: Path
    training: dict[str, Any] = field(default_factory=dict)
    """Figures of the policy; empty after a failure."""
    findings: tuple[Finding, ...] = ()
    error: str | None = None

    def __str__(self) -> str:
        if self.error:
            return f"{self.task} failed: {self.error}"
        figures = {n: v for n, v in self.row().items() if isinstance(v, (int, float))}
        return " · ".join([self.task, *(f"{name} {value:.4g}" for name, value in figures.items())])

    def row(self) -> dict[str, Any]:
        """Return a row of the table."""
        figures = self.training
        return {
            "task": self.task,
            "imagined": figures.get("imagined_return"),
            "real": figures.get("real_return"),
            "gap": figures.get("gap"),
            "iterations": figures.get("iterations"),
            "policy": f"failed: {self.error}" if self.error else str(self.policy),
        }


@dataclass(frozen=True)
class Job:
    """One task's extraction, runnable in a process of its own."""

    world_model: Path
    data: Path
    task: str
    out: Path
    config: ExtractionConfig
    options: ExtractionOptions
    origin: Path | None = None
    """Policy whose actor to begin with."""

    @property
    def policy(self) -> Path:
        return self.out / "policy.safetensors"

    def run(self) -> Outcome:
        """Extract this task alone."""
        extraction, inputs = self.prepare(*self.read())
        return self.outcome(extraction.run(inputs))

    def read(self) -> tuple[TrainedWorldModel, Dataset, dict[str, str]]:
        """Return world model and dataset, and their hashes."""
        dataset = Dataset(self.data)
        inputs = {"world_model": sha256(self.world_model), "dataset": dataset.fingerprint()}
        trained = TrainedWorldModel.load(self.world_model, torch.device("cpu"))
        return trained, dataset, inputs

    def prepare(
        self, trained: TrainedWorldModel, dataset: Dataset, inputs: dict[str, str]
    ) -> tuple[Extraction, dict[str, str]]:
        """Return the extraction and the hashes of what it reads, ``inputs`` and its origin."""
        origin = None
        if self.origin:
            origin = TrainedPolicy.load(self.origin)
            inputs = inputs | {"from": sha256(self.origin)}
        extraction = Extraction(
            trained, dataset, self.task, self.out, self.config, self.options, origin
        )
        return extraction, inputs

    def outcome(self, found: TrainedPolicy | Exception) -> Outcome:
        """Return the outcome; a failure is one, with a traceback where it is ours to mend."""
        if isinstance(found, TrainedPolicy):
            findings = tuple(Finding(**finding) for finding in found.record["diagnosis"])
            return Outcome(self.task, self.policy, found.record["training"], findings)
        if isinstance(found, PwmError):
            return Outcome(self.task, self.policy, error=str(found))
        traceback.print_exception(found)
        return Outcome(self.task, self.policy, error=f"{type(found).__name__}: {found}")


def extract_together(jobs: Sequence[Job]) -> list[Outcome]:
    """Run ``jobs`` of one world model, data set and configuration side by side.

    The failure of one leaves the others alone.
    """
    read = jobs[0].read()
    found: dict[str, TrainedPolicy | Exception] = {}
    prepared: dict[str, tuple[Extraction, dict[str, str]]] = {}
    for job in jobs:
        try:
            prepared[job.task] = job.prepare(*read)
        except Exception as error:
            found[job.task] = error
    if prepared:
        outcomes = extract(*zip(*prepared.values(), strict=True))
        found |= dict(zip(prepared, outcomes, strict=True))
    return [job.outcome(found[job.task]) for job in jobs]


def _outcomes(jobs: Sequence[Job], future: Future[list[Outcome]]) -> list[Outcome]:
    try:
        return future.result()
    except BrokenExecutor:
        error = "a worker process died; start again to go on"
    except PwmError as failure:
        error = str(failure)
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"
    return [Outcome(job.task, job.policy, error=error) for job in jobs]


def select(wanted: tuple[str, ...], trained: TrainedWorldModel) -> list[str]:
    """Return the names of tasks; suites stand for those of their tasks that the model knows.

    What the model does not know of a suite is printed; ``CheckpointError`` for what is neither a
    task that it knows nor a suite of which it knows any.
    """
    known = {task.name: task for task in trained.tasks}
    names: list[str] = []
    for name in wanted or tuple(known):
        members = [name] if name in known else _suite(name, trained)
        missing = [member for member in members if member not in known]
        if len(missing) == len(members):
            trained.task_index(name)
        if missing:
            print(f"{name}: the world model does not know {', '.join(missing)}", file=sys.stderr)
        names += [member for member in members if member in known]
    return list(dict.fromkeys(names))


def _suite(name: str, trained: TrainedWorldModel) -> list[str]:
    """Return the tasks of suite ``name``, of which the model may know some without simulator."""
    own = [task.name for task in trained.tasks if task.suite == name]
    try:
        return list(dict.fromkeys([*(task.name for task in all_tasks(name)), *own]))
    except UnknownTaskError:
        return own
