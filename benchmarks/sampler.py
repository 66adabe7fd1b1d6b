# SPDX-License-Identifier: Apache-2.0
"""Batches of 17-row windows from data sets of ever more transitions.

The arrays are sparse files: they take no disk, and reading them costs what reading cached data
costs. The reference finds the episodes' edges in the rows' episode numbers at every batch, as
samplers do that keep no table of episodes.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import Program, Row, clock_name, function_rows, interleave
from benchmarks.settings import Settings
from pwm_core.data.dataset import Dataset, TaskInfo
from pwm_core.data.episodes import Episode, to_line
from pwm_core.data.sampler import Windows, WindowSampler
from pwm_core.data.schema import Schema
from pwm_core.tasks import get_task

TASK = "cheetah-run"
DECISIONS = 500
HORIZON, BATCH = 16, 256
REFERENCE = "reference"


def sparse_dataset(directory: Path, transitions: int) -> Dataset:
    """Make a dataset of so many transitions, all zeros, and open it."""
    episodes, rows = transitions // DECISIONS, transitions // DECISIONS * (DECISIONS + 1)
    schema = Schema.of([TaskInfo.of(get_task(TASK))])
    directory.mkdir(parents=True)
    schema.write(directory)
    widths = (schema.observation_width, schema.action_width, 1)
    for name, width in zip(("observation", "action", "reward"), widths, strict=True):
        with open(directory / f"{name}.f32", "wb") as file:
            file.truncate(4 * width * rows)
    with open(directory / "episodes.jsonl", "w") as table:
        for number in range(episodes):
            start = number * (DECISIONS + 1)
            table.write(to_line(Episode(TASK, "none", number, start, DECISIONS, 0.0, 0)))
    return Dataset(directory)


class PlainSampler:
    """The same batches, from the episode number of every row."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self._dataset, self._seed = dataset, seed
        episodes = np.arange(len(dataset.episodes), dtype=np.int32)
        self._episode = np.repeat(episodes, dataset.episodes.length + 1)

    def batch(self, number: int) -> Windows:
        """Return batch ``number`` of :class:`WindowSampler`, found the long way."""
        edges = np.flatnonzero(np.diff(self._episode)) + 1
        start = np.concatenate([[0], edges])
        stop = np.concatenate([edges, [len(self._episode)]])
        places = range(number * BATCH, (number + 1) * BATCH)
        chosen = np.array([self._visit(place, len(start)) for place in places])
        rng = np.random.default_rng([self._seed, 1, number])
        first = start[chosen] + rng.integers(stop[chosen] - start[chosen] - HORIZON)
        runs = [slice(f, f + HORIZON + 1) for f in first.tolist()]
        data = self._dataset
        return Windows(
            torch.from_numpy(np.stack([data.observation[run] for run in runs], 1)),
            torch.from_numpy(np.stack([data.action[run][1:] for run in runs], 1)),
            torch.from_numpy(np.stack([data.reward[run][1:] for run in runs], 1)),
            torch.zeros(HORIZON, BATCH),
            torch.zeros(BATCH, dtype=torch.int64),
        )

    def _visit(self, place: int, episodes: int) -> int:
        epoch, within = divmod(place, episodes)
        if within == 0 or not hasattr(self, "_order"):
            self._order = np.random.default_rng([self._seed, 0, epoch]).permutation(episodes)
        return int(self._order[within])


def sampler(dataset: Dataset) -> WindowSampler:
    """Return the product's sampler over all episodes."""
    return WindowSampler(dataset, dataset.episodes, [TASK], HORIZON, BATCH, seed=0)


class Drawing:
    """Draws batch after batch."""

    def __init__(self, source: WindowSampler | PlainSampler) -> None:
        self._source, self._number = source, 0

    def __call__(self) -> Windows:
        self._number += 1
        return self._source.batch(self._number - 1)


def measure(directory: Path, settings: Settings) -> list[Row]:
    """Return rows per size: opening, memory, and time per batch of 256 windows."""
    rows = []
    for transitions in settings.transitions:
        path = directory / str(transitions)
        sparse_dataset(path, transitions)
        before, begin = anonymous_megabytes(), time.process_time()
        dataset = Dataset(path)
        opening = time.process_time() - begin
        fast = sampler(dataset)
        memory = anonymous_megabytes() - before
        plain = PlainSampler(dataset, 0)
        programs = {REFERENCE: Program(Drawing(plain), 2), "table": Program(Drawing(fast), 20)}
        seconds = interleave(programs, settings.rounds)
        for name, own in seconds.items():
            rows.append(
                {
                    "transitions": f"{transitions:.0e}",
                    "program": name,
                    f"{clock_name()} ms": 1e3 * float(np.median(own)),
                    "slowest ms": 1e3 * float(own.max()),
                    "times reference": float(np.median(seconds[REFERENCE] / own)),
                    "opening s": opening,
                    "memory MB": memory,
                }
            )
    return rows


def anonymous_megabytes() -> float:
    """Return this process's memory that is no map of a file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1e3
    raise RuntimeError("/proc/self/status has no RssAnon")


def profiled(directory: Path, settings: Settings) -> list[Row]:
    """Return the costliest functions of a batch."""
    fast = sampler(sparse_dataset(directory / "data", settings.transitions[0]))
    return function_rows(Drawing(fast), calls=100)
