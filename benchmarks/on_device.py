# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks extraction pretraining --device cuda``: on a GPU, at the published sizes.

Kernels started one by one are compared with one CUDA graph per iteration or update, in each
precision. Extraction's published program takes 2300 s for 10,000 iterations (48M, batch 512,
horizon 16). On a CPU both ways are the same program.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.extraction import PUBLISHED, one_iteration
from benchmarks.measure import Row, counted_work
from benchmarks.pretraining import one_update
from benchmarks.settings import Settings
from benchmarks.synthetic import TASKS, synthetic_dataset, untrained_world_model
from pwm_core.data.dataset import Dataset
from pwm_core.extraction.config import configure
from pwm_core.extraction.runner import Extraction
from pwm_core.model.store import TrainedWorldModel
from pwm_core.pretraining.runner import Pretraining, PretrainingOptions
from pwm_core.verbs.extract import Extract
from pwm_core.verbs.pretrain import Pretrain

REFERENCE, GRAPH = "kernel by kernel, float32", "CUDA graph"
UNMEASURED = 6
"""Iterations before the clock: the first, the warm-up, the recording and two replays."""
RUN = 10_000
"""Iterations of a published run."""


def extraction(directory: Path, settings: Settings) -> list[Row]:
    """Return a row per way to extract."""
    dataset = synthetic_dataset(directory / "data", settings.episodes)
    trained = untrained_world_model(dataset, settings.device_size)
    table = Table(f"{settings.device_size}, batch {settings.device_batch}", settings)
    for name, graph, precision in ways("float32", "tf32", "bfloat16"):
        runner = extractor(dataset, directory, trained, settings, graph, precision)

        def iterate(runner: Extraction = runner) -> None:
            one_iteration([runner])

        table.add(name, iterate)
        table.rows[-1][f"{RUN} iterations, s"] = table.rows[-1]["wall ms"] / 1e3 * RUN
    return table.rows


def pretraining(directory: Path, settings: Settings) -> list[Row]:
    """Return a row per way to pre-train, at the longest horizon; and what the sampler takes.

    Windows are drawn by a thread while the device works: their share of an update's time is what
    the host must not exceed.
    """
    dataset = synthetic_dataset(directory / "data", settings.episodes)
    size: Any = settings.device_size
    verb = Pretrain(size=size, curriculum=False)
    table = Table(f"{settings.device_size}, {verb.transitions} transitions", settings)
    for name, graph, precision in ways("float32", "bfloat16"):
        torch.set_float32_matmul_precision("highest")
        config = replace(verb, precision=precision)._config()
        compiled = graph and settings.device != "cpu"
        options = PretrainingOptions(settings.device, compile=compiled, cuda_graph=graph)
        runner = Pretraining(dataset, directory, config, options)
        runner.prepare_networks()
        table.add(name, lambda: one_update(runner))  # noqa: B023
        begin = time.perf_counter()
        runner._drawn(runner.step)
        drawing = 1e3 * (time.perf_counter() - begin)
        table.rows[-1]["sampler / update"] = drawing / table.rows[-1]["wall ms"]
    return table.rows


def ways(*precisions: str) -> Iterator[tuple[str, bool, Any]]:
    """Yield name, whether it is a graph, and precision of what is compared."""
    yield REFERENCE, False, "float32"
    for precision in precisions:
        yield f"{GRAPH}, {precision}", True, precision


def extractor(
    dataset: Dataset,
    directory: Path,
    trained: TrainedWorldModel,
    settings: Settings,
    graph: bool,
    precision: Any,
) -> Extraction:
    """Return the runner of one way to extract, without files."""
    torch.set_float32_matmul_precision("highest")  # the runner lowers it where it is to be
    overrides = replace(PUBLISHED, batch=settings.device_batch, precision=precision)
    verb = Extract(device=settings.device, cuda_graph=graph, overrides=overrides)
    job = verb._job(TASKS[0], configure(verb.preset, verb.overrides, verb.seed))
    return Extraction(trained, dataset, job.task, directory, job.config, job.options)


class Table:
    """A row per way; the first is the reference, whose matrix products are counted."""

    def __init__(self, case: str, settings: Settings) -> None:
        self.rows: list[Row] = []
        self._case, self._settings, self._work = case, settings, 0.0

    def add(self, name: str, run: Callable[[], None]) -> None:
        """Measure one way."""
        own = seconds(run, self._settings.device_iterations, self._settings.device)
        if not self.rows:
            with torch.compiler.set_stance("force_eager"):  # only operators as written are counted
                self._work = counted_work(run)
        reference = self.rows[0]["wall ms"] if self.rows else 1e3 * own
        self.rows.append(
            {
                "case": self._case,
                "program": name,
                "wall ms": 1e3 * own,
                "times reference": reference / (1e3 * own),
                "TFLOP/s": self._work / own / 1e12,
            }
        )


def seconds(run: Callable[[], None], calls: int, device: str) -> float:
    """Return wall seconds per call; the device has finished at both ends."""
    for _ in range(UNMEASURED):
        run()
    finish(device)
    begin = time.perf_counter()
    for _ in range(calls):
        run()
    finish(device)
    return (time.perf_counter() - begin) / calls


def finish(device: str) -> None:
    """Wait until the device has done all it was given."""
    if device != "cpu":
        torch.cuda.synchronize(device)
