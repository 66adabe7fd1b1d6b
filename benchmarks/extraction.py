# SPDX-License-Identifier: Apache-2.0
"""Iterations of ``pwm extract`` at its defaults."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.measure import Program, Row, compare, counted_work, profile_rows
from benchmarks.reference import PlainExtraction
from benchmarks.settings import Settings
from benchmarks.synthetic import TASKS, synthetic_dataset, untrained_world_model
from pwm_core.data.dataset import Dataset
from pwm_core.extraction.config import configure
from pwm_core.extraction.runner import Extraction
from pwm_core.verbs.extract import Extract

REFERENCE = "reference"


def extraction(dataset: Dataset, directory: Path, compiled: bool = False) -> Extraction:
    """Return the runner for the first task at the verb's defaults, without files."""
    verb = Extract(device="cpu", compile=compiled)
    job = verb._job(TASKS[0], configure(verb.preset, verb.overrides, verb.seed))
    trained = untrained_world_model(dataset)
    runner = Extraction(trained, dataset, job.task, directory, job.config, job.options)
    if compiled:
        runner.learner.compile()
    return runner


def one_iteration(runner: Extraction) -> None:
    """Run one iteration as the runner's loop does."""
    runner.iterate()
    runner.iteration += 1


def measure(directory: Path, settings: Settings) -> list[Row]:
    """Return a row per program."""
    dataset = synthetic_dataset(directory / "data", settings.episodes)
    runners = {"eager (default)": extraction(dataset, directory)}
    eager = next(iter(runners.values()))
    if settings.compiled:
        runners["compiled"] = extraction(dataset, directory, True)
    reference = PlainExtraction(eager)
    programs = {REFERENCE: Program(reference.iterate, settings.calls)}
    for name, runner in runners.items():
        programs[name] = Program(partial(one_iteration, runner), settings.calls)
    needed = counted_work(lambda: one_iteration(eager))
    executed = dict.fromkeys(programs, needed)
    executed[REFERENCE] = counted_work(reference.iterate)
    case = f"batch {eager.config.batch}, horizon {eager.config.horizon}"
    return compare(case, programs, REFERENCE, executed, needed, settings.rounds)


def profiled(directory: Path, settings: Settings) -> list[Row]:
    """Return the costliest operators of an eager iteration."""
    dataset = synthetic_dataset(directory / "data", settings.episodes)
    runner = extraction(dataset, directory)
    return profile_rows(lambda: one_iteration(runner), settings.rounds)
