# SPDX-License-Identifier: Apache-2.0
"""World-model updates of ``pwm pretrain`` at its defaults and at 1M and 5M, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
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
from benchmarks.reference import PlainPretraining
from benchmarks.settings import ModelSize, Settings
from benchmarks.synthetic import synthetic_dataset
from pwm_core.data.dataset import Dataset
from pwm_core.device import keep_freed_memory
from pwm_core.pretraining.runner import Pretraining, PretrainingOptions
from pwm_core.verbs.pretrain import Pretrain

REFERENCE, EAGER, COMPILED = "reference", "eager", "torch.compile"
BY_HAND, NO_COMPILER = "by hand (default)", "by hand, no C compiler"


def pretraining(
    dataset: Dataset, directory: Path, way: str = BY_HAND, size: ModelSize = "tiny"
) -> Pretraining:
    """Return the runner at the verb's defaults, without files."""
    keep_freed_memory()
    config = Pretrain(size=size)._config()
    runner = Pretraining(dataset, directory, config, PretrainingOptions("cpu"))
    if way == BY_HAND:
        runner.prepare_networks()
    elif way == COMPILED:
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
    """Return rows per size, horizon and program; compiled networks of the first size only."""
    dataset = synthetic_dataset(directory / "data", settings.episodes)
    compiled = [COMPILED] if settings.compiled else []
    rows = []
    for size in settings.models:
        ways = [EAGER, *(compiled if size == "tiny" else []), BY_HAND]
        rows += against_reference(dataset, directory, settings, size, ways)
    return rows


def against_reference(
    dataset: Dataset, directory: Path, settings: Settings, size: ModelSize, ways: Sequence[str]
) -> list[Row]:
    """Return rows per horizon and program for one size."""
    runners = {way: pretraining(dataset, directory, way, size) for way in ways}
    eager = runners[EAGER]
    reference = PlainPretraining(eager)
    rows = []
    for step, horizon in stages(eager):
        for runner in runners.values():
            runner.step = step
        programs = {REFERENCE: Program(partial(reference.update, horizon), settings.calls)}
        for name, runner in runners.items():
            programs[name] = Program(partial(one_update, runner), settings.calls)
        by_hand = programs[BY_HAND]
        programs[NO_COMPILER] = Program(without_kernels(by_hand.run), by_hand.calls)
        needed = counted_work(lambda: one_update(eager))
        executed = dict.fromkeys(programs, needed)
        executed[REFERENCE] = counted_work(programs[REFERENCE].run)
        case = f"{size}, horizon {horizon}"
        rows += compare(case, programs, REFERENCE, executed, needed, settings.rounds)
    return rows


def profiled(directory: Path, settings: Settings) -> list[Row]:
    """Return the costliest operators of an update at the last stage's horizon."""
    dataset = synthetic_dataset(directory / "data", settings.episodes)
    runner = pretraining(dataset, directory)
    runner.step = stages(runner)[-1][0]
    return profile_rows(lambda: one_update(runner), settings.rounds)
