# SPDX-License-Identifier: Apache-2.0
"""Run a study's cells, one by one or in worker processes; those that are done are never repeated.

A cell's result is one file, ``cells/NAME.json``, whole or absent. A cell that fails leaves its
traceback in ``failed/NAME.txt``; it runs again when the study is started again.
"""

from __future__ import annotations

import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, as_completed
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

from pwm_core.data.dataset import Dataset
from pwm_core.device import keep_freed_memory
from pwm_core.errors import PwmError
from pwm_core.files import sha256, write_atomically
from pwm_core.progress import ProgressDisplay
from pwm_core.run_directory import RunDirectory, git_revision, plain
from pwm_core.studies.study import Cell, Inputs, Preset, Result, Study, Topic
from pwm_core.workers import worker_pool


@dataclass(frozen=True)
class Job:
    """One cell, runnable in a process of its own."""

    study: Study
    cell: Cell
    inputs: Inputs
    out: Path

    @property
    def result_file(self) -> Path:
        return self.out / "cells" / f"{self.cell.name}.json"

    @property
    def failure_file(self) -> Path:
        return self.out / "failed" / f"{self.cell.name}.txt"

    def stored(self) -> Result | None:
        """Return the result of an earlier run, ``None`` where there is none."""
        if not self.result_file.is_file():
            return None
        return Result(**json.loads(self.result_file.read_text()))

    def run(self) -> None:
        """Measure the cell and write its result; leave the traceback of a failure, and raise it."""
        folder = self.out / "work" / self.cell.name
        resumed = folder.is_dir() and any(folder.iterdir())
        folder.mkdir(parents=True, exist_ok=True)
        begin, processor_begin = time.monotonic(), _processor_seconds()
        try:
            figures = self.study.measure(self.cell.setting, self.cell.seed, self.inputs, folder)
        except Exception:
            write_atomically(self.failure_file, traceback.format_exc())
            raise
        result = Result(
            dict(self.cell.setting),
            self.cell.seed,
            plain(dict(figures)),
            time.monotonic() - begin,
            date.today().isoformat(),
            git_revision(),
            processor(),
            _processor_seconds() - processor_begin,
            os.getloadavg()[0],
            resumed,
        )
        write_atomically(self.result_file, json.dumps(result.to_json(), indent=1))
        self.failure_file.unlink(missing_ok=True)


@dataclass(frozen=True)
class Outcome:
    """Results of a study, as far as they go."""

    results: Sequence[Result]
    """Of the cells that are done, in the order of the settings."""
    failures: Mapping[str, str]
    """What went wrong, by the name of the cell."""


def run_study(
    topic: Topic,
    preset: Preset,
    inputs: Inputs,
    out: Path,
    workers: int,
    *,
    missing: bool = True,
    only: str = "",
) -> Outcome:
    """Run what is missing of a study in ``out``; ``PwmError`` when that holds another one.

    So it does where a GPU is needed and there is none. Without ``missing`` nothing is run: the
    outcome is what there is. Of what is missing, cells run whose names contain ``only``.
    """
    if missing and preset == "gpu" and not torch.cuda.is_available():
        raise PwmError(
            f"study {topic.name}, preset gpu: this machine or this build of torch has no CUDA; "
            "use --preset quick or full"
        )
    if missing:
        check_tasks(topic, preset, inputs)
    study = topic.presets[preset]
    identity = plain(study)  # where a field came later, nobody knows what stood in its place
    RunDirectory(out, f"study {topic.name}, {preset}", identity, input_hashes(topic, inputs))
    cells = [Cell(setting, seed) for setting in study.settings() for seed in study.seeds]
    jobs = [Job(study, cell, inputs, out) for cell in cells]
    todo = [job for job in jobs if missing and only in job.cell.name and job.stored() is None]
    failures: dict[str, str] = {}
    done = sum(job.stored() is not None for job in jobs)
    with ProgressDisplay(f"study {topic.name}", len(jobs), "cells", done) as progress:
        for name, error in _run(todo, workers):
            done += 1
            if error:
                failures[name] = error
            progress.update(done, {"last": name})
    found = [job.stored() for job in jobs]
    return Outcome([result for result in found if result], failures)


def input_hashes(topic: Topic, inputs: Inputs) -> dict[str, str]:
    """Return the hashes of what the study reads; ``PwmError`` names what is missing."""
    hashes = {}
    if topic.reads_data:
        hashes["dataset"] = Dataset(inputs.data).fingerprint()
    if topic.reads_world_model:
        if not inputs.world_model.is_file():
            raise PwmError(
                f"{inputs.world_model} does not exist: study {topic.name} needs a world model of "
                "pwm pretrain, say which with --world-model (of the demo: "
                "runs/demo/world_model/world_model.safetensors, with --data runs/demo/data)"
            )
        hashes["world_model"] = sha256(inputs.world_model)
    return hashes


def check_tasks(topic: Topic, preset: Preset, inputs: Inputs) -> None:
    """Raise ``PwmError`` where the dataset lacks tasks that the study reads."""
    if topic.tasks_read is None:
        return
    needed, known = topic.tasks_read(topic.presets[preset]), Dataset(inputs.data).tasks
    if lacking := [task for task in dict.fromkeys(needed) if task not in known]:
        raise PwmError(
            f"{inputs.data} has no episodes of {', '.join(lacking)}, which study {topic.name}, "
            f"preset {preset}, reads: make some with pwm collect --tasks "
            f"{' '.join(dict.fromkeys(needed))} --out DATA, and name them with --data DATA"
        )


def _run(jobs: Sequence[Job], workers: int) -> Iterator[tuple[str, str]]:
    """Run ``jobs`` and yield (cell, what went wrong or nothing) as they end."""
    if workers <= 1 or len(jobs) <= 1:
        _prepare()
        for job in jobs:
            yield job.cell.name, _error(job.run)
        return
    with worker_pool(workers, _prepare) as pool:
        futures = {pool.submit(job.run): job.cell.name for job in jobs}
        for future in as_completed(futures):
            yield futures[future], _error(future.result)


def _error(result: Callable[[], object]) -> str:
    """Return what ``result`` raises, in words; empty where it raises nothing."""
    try:
        result()
    except BrokenExecutor:
        return "a worker process died; start again to go on"
    except PwmError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _prepare() -> None:
    """One thread per cell: the networks are small, and cells run side by side."""
    torch.set_num_threads(1)
    keep_freed_memory()


def _processor_seconds() -> float:
    """Return the processor time of this process and of those it started that have ended."""
    return sum(os.times()[:4])


def processor() -> str:
    """Return the processor's name and the number of cores."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    graphics = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {os.cpu_count()} cores{graphics}"
