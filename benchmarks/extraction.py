# SPDX-License-Identifier: Apache-2.0
"""Iterations of ``pwm extract``: at its defaults, at published sizes, ten tasks side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.measure import (
    Program,
    Row,
    compare,
    counted_work,
    profile_rows,
    without_kernels,
)
from benchmarks.reference import PlainExtraction
from benchmarks.settings import Settings
from benchmarks.synthetic import TASKS, synthetic_dataset, untrained_world_model
from pwm_core.data.dataset import Dataset
from pwm_core.device import keep_freed_memory
from pwm_core.extraction.config import Overrides, configure
from pwm_core.extraction.runner import Extraction, iterate
from pwm_core.model.store import TrainedWorldModel
from pwm_core.verbs.extract import Extract

REFERENCE = "reference"
BY_HAND, NO_COMPILER, COMPILED = "by hand (default)", "by hand, no C compiler", "torch.compile"
ONE_BY_ONE = "one after the other"
DEMO = "tiny"
"""Size of the demo's world model; larger ones are extracted from at published settings."""
MANY = 10
"""Tasks side by side."""
PUBLISHED = Overrides(
    batch=512, actor_hidden=(400, 200, 100), critic_hidden=(400, 200), critic_passes=8
)
"""Sizes of the published runs."""
DEFAULTS = Overrides()


def extraction(
    dataset: Dataset,
    directory: Path,
    compiled: bool = False,
    trained: TrainedWorldModel | None = None,
    overrides: Overrides = DEFAULTS,
    task: str = TASKS[0],
) -> Extraction:
    """Return the runner for ``task`` at the verb's defaults, without files."""
    keep_freed_memory()
    verb = Extract(device="cpu", compile=compiled, overrides=overrides)
    job = verb._job(task, configure(verb.preset, verb.overrides, verb.seed))
    trained = trained or untrained_world_model(dataset)
    return Extraction(trained, dataset, job.task, directory, job.config, job.options)


def one_iteration(runners: Sequence[Extraction]) -> None:
    """Run one iteration of each side by side, as the runner's loop does."""
    iterate(runners)
    for runner in runners:
        runner.iteration += 1


def one_by_one(runners: Sequence[Extraction]) -> None:
    """Run one iteration of each alone."""
    for runner in runners:
        one_iteration([runner])


def measure(directory: Path, settings: Settings) -> list[Row]:
    """Return a row per program."""
    dataset = synthetic_dataset(directory / "data", settings.episodes)
    rows = []
    for size in settings.models:
        overrides = DEFAULTS if size == DEMO else PUBLISHED
        rows += against_reference(dataset, directory, settings, size, overrides)
    if DEMO in settings.models:
        rows += side_by_side(dataset, directory, settings)
    return rows


def against_reference(
    dataset: Dataset, directory: Path, settings: Settings, size: str, overrides: Overrides
) -> list[Row]:
    """Return rows of one task's iterations and of the plain reference's."""
    trained = untrained_world_model(dataset, size)
    fast = extraction(dataset, directory, trained=trained, overrides=overrides)
    reference, run = PlainExtraction(fast), partial(one_iteration, [fast])
    runs: dict[str, Callable[[], object]] = {
        REFERENCE: reference.iterate,
        BY_HAND: run,
        NO_COMPILER: without_kernels(run),
    }
    if settings.compiled:
        runner = extraction(dataset, directory, True, trained, overrides)
        runs[COMPILED] = partial(one_iteration, [runner])
    calls = settings.calls if size == DEMO else 1
    programs = {name: Program(run, calls) for name, run in runs.items()}
    needed = counted_work(lambda: one_iteration([fast]))
    executed = dict.fromkeys(programs, needed)
    executed[REFERENCE] = counted_work(reference.iterate)
    case = f"{size}, batch {fast.config.batch}"
    return compare(case, programs, REFERENCE, executed, needed, settings.rounds)


def side_by_side(dataset: Dataset, directory: Path, settings: Settings) -> list[Row]:
    """Return rows of many tasks' iterations, together and one after the other."""
    trained = untrained_world_model(dataset)

    def runners() -> list[Extraction]:
        names = [TASKS[i % len(TASKS)] for i in range(MANY)]
        return [extraction(dataset, directory, trained=trained, task=name) for name in names]

    together = runners()
    alone, run = partial(one_by_one, runners()), partial(one_iteration, together)
    programs = {
        ONE_BY_ONE: Program(alone, 1),
        "together": Program(run, 1),
        f"{ONE_BY_ONE}, no C compiler": Program(without_kernels(alone), 1),
        "together, no C compiler": Program(without_kernels(run), 1),
    }
    needed = counted_work(lambda: one_iteration(together))
    executed = dict.fromkeys(programs, needed)
    case = f"tiny, batch {together[0].config.batch}, {MANY} tasks"
    return compare(case, programs, ONE_BY_ONE, executed, needed, settings.rounds)


def profiled(directory: Path, settings: Settings) -> list[Row]:
    """Return the costliest operators of an iteration."""
    dataset = synthetic_dataset(directory / "data", settings.episodes)
    runner = extraction(dataset, directory)
    return profile_rows(lambda: one_iteration([runner]), settings.rounds)
