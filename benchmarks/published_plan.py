# SPDX-License-Identifier: Apache-2.0
"""What the published data sets would take, from formulas that ``docs/scaling.md`` explains."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.measure import Row, counted_work
from pwm_core.data.sampler import Windows
from pwm_core.model.world_model import SIZES, WorldModel
from pwm_core.pretraining.loss import LossWeights, world_model_loss

FLOAT = 4
"""Bytes of a number."""
WINDOWS, HORIZON = 1024, 16
"""Of an update, as published."""
READS = 3
"""Of a window: its observations, its actions, its rewards."""
UPDATES = 10_000_000
"""TD-MPC2's default number of updates."""
AUTHORS_SECONDS = 14 * 24 * 3600
"""Two weeks on an RTX 3090 for mt30 at 48M, by the README of PWM's code."""
EPISODE_IN_MEMORY = 46 + 40
"""Bytes of an episode: in the table (docs/data.md), and five arrays of the sampler."""
GPU_RATES = {"H200, 30 % of 790 TFLOP/s in bfloat16": 0.3 * 790e12}
"""Assumed FLOP/s: no GPU was measured."""


@dataclass(frozen=True)
class PublishedData:
    """A data set of TD-MPC2."""

    name: str
    rows: int
    """Observations on disk, one more than decisions per episode."""
    decisions: int
    """Per episode."""
    observations: int
    """Of the widest task, as wide as all are stored."""
    actions: int
    tasks: int

    @property
    def episodes(self) -> int:
        return self.rows // (self.decisions + 1)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row: observation, action and reward."""
        return FLOAT * (self.observations + self.actions + 1)

    @property
    def batch_bytes(self) -> int:
        """Bytes that the windows of an update are read from."""
        observed = (HORIZON + 1) * self.observations
        return FLOAT * WINDOWS * (observed + HORIZON * (self.actions + 1))


DATA = (
    PublishedData("mt30", 345_690_000, 500, 24, 6, 30),
    PublishedData("mt80", 550_450_000, 100, 39, 6, 80),
)


def data_rows() -> list[Row]:
    """Return what each data set takes on disk, in memory and from the disk per update."""
    return [
        {
            "data": data.name,
            "million rows": data.rows / 1e6,
            "episodes": data.episodes,
            "arrays, GB": data.rows * data.row_bytes / 1e9,
            "in memory, MB": data.episodes * EPISODE_IN_MEMORY / 1e6,
            "updates per epoch": data.episodes // WINDOWS,
            "read per update, MB": data.batch_bytes / 1e6,
            "read for all updates, TB": UPDATES * data.batch_bytes / 1e12,
        }
        for data in DATA
    ]


def update_work(data: PublishedData, size: str) -> float:
    """Return the FLOP of an update's matrix products, counted on tensors without content."""
    config = SIZES[size]
    model = WorldModel(config, data.tasks, data.observations, data.actions).to("meta")
    model.two_hot.to("meta")
    windows = Windows(
        torch.empty(HORIZON + 1, WINDOWS, data.observations, device="meta"),
        torch.empty(HORIZON, WINDOWS, data.actions, device="meta"),
        torch.empty(HORIZON, WINDOWS, device="meta"),
        torch.empty(HORIZON, WINDOWS, device="meta"),
        torch.zeros(WINDOWS, dtype=torch.int64, device="meta"),
    )
    return counted_work(lambda: world_model_loss(model, windows, LossWeights()).total.backward())


def training_rows() -> list[Row]:
    """Return how long ``UPDATES`` of each size take on mt80 at rates that others state."""
    data = DATA[-1]
    authors = UPDATES * update_work(DATA[0], "48M") / AUTHORS_SECONDS
    rates = {"RTX 3090, from the authors' two weeks": authors} | GPU_RATES
    rows = []
    for size in ("5M", "48M", "317M"):
        work = update_work(data, size)
        for machine, rate in rates.items():
            rows.append(
                {
                    "model": size,
                    "TFLOP per update": work / 1e12,
                    "machine": machine,
                    "TFLOP/s": rate / 1e12,
                    "updates/s": rate / work,
                    "GPU hours": UPDATES * work / rate / 3600,
                    "sampler, MB/s": data.batch_bytes / 1e6 * rate / work,
                    "sampler, reads/s": READS * WINDOWS * rate / work,
                }
            )
    return rows
