# SPDX-License-Identifier: Apache-2.0
"""World-model updates of ``pwm pretrain`` at its defaults, per stage of the curriculum."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.measure import Program, Row, compare, counted_work, profile_rows
from benchmarks.reference import PlainPretraining
from benchmarks.settings import Settings
from benchmarks.synthetic import synthetic_dataset
from pwm_core.data.dataset import Dataset
from pwm_core.pretraining.runner import Pretraining, PretrainingOptions
from pwm_core.verbs.pretrain import Pretrain

REFERENCE = "reference"


def pretraining(dataset: Dataset, directory: Path, compiled: bool = False) -> Pretraining:
    """Return the runner at the verb's defaults, without files."""
    config = Pretrain()._config()
    runner = Pretraining(dataset, directory, config, PretrainingOptions("cpu", compiled))
    if compiled:
        runner.model.compile_parts()
    return runner


def stages(runner: Pretraining) -> list[tuple[int, int]]:
    """Return the first step and the horizon of each stage of the curriculum."""
    found, end = [], 0.0
    for share, horizon in runner.config.curriculum:
        found.append((round(end * runner.config.updates), horizon))
        end += share
    return [*found, (round(end * runner.config.updates), runner.config.horizon)]


def one_update(runner: Pretraining) -> None:
    """Run one update as the runner's loop does."""
    runner._update()
    runner.step += 1


def measure(directory: Path, settings: Settings) -> list[Row]:
    """Return rows per horizon and program."""
    dataset = synthetic_dataset(directory / "data", settings.episodes)
    runners = {"eager": pretraining(dataset, directory)}
    if settings.compiled:
        runners["compiled (default)"] = pretraining(dataset, directory, True)
    eager = runners["eager"]
    reference = PlainPretraining(eager)
    rows = []
    for step, horizon in stages(eager):
        for runner in runners.values():
            runner.step = step
        programs = {REFERENCE: Program(partial(reference.update, horizon), settings.calls)}
        for name, runner in runners.items():
            programs[name] = Program(partial(one_update, runner), settings.calls)
        needed = counted_work(lambda: one_update(eager))
        executed = dict.fromkeys(programs, needed)
        executed[REFERENCE] = counted_work(programs[REFERENCE].run)
        case = f"horizon {horizon}"
        rows += compare(case, programs, REFERENCE, executed, needed, settings.rounds)
    return rows


def profiled(directory: Path, settings: Settings) -> list[Row]:
    """Return the costliest operators of an eager update at the last stage's horizon."""
    dataset = synthetic_dataset(directory / "data", settings.episodes)
    runner = pretraining(dataset, directory)
    runner.step = stages(runner)[-1][0]
    return profile_rows(lambda: one_update(runner), settings.rounds)
