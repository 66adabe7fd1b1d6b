# SPDX-License-Identifier: Apache-2.0
"""How much data, and how good: what policies earn, and what they imagine to earn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from matplotlib.figure import Figure

from pwm_core.data.behaviours import Behaviour, Correlated, SamplingMpc
from pwm_core.data.collect import collect, plan
from pwm_core.data.dataset import Dataset, DatasetWriter
from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.diagnosis import exploited
from pwm_core.model.config import SIZES, WorldModelConfig
from pwm_core.pretraining.quality import too_poor
from pwm_core.studies.drawing import curve, measured_places, panels, selected, values
from pwm_core.studies.extracting import extract, judge
from pwm_core.studies.study import Column, Figures, Inputs, Result, Setting, Topic
from pwm_core.studies.world_data import SMALL, WORLD_MODEL, pretrain, recipe

QUALITIES: Mapping[str, tuple[Behaviour, ...]] = {
    "random": (Correlated(),),
    "mixed": (Correlated(), SamplingMpc(0.4), SamplingMpc(0.0)),
    "expert": (SamplingMpc(0.0),),
}
"""What acts, in equal shares: correlated noise, planning on the true dynamics with and without
noise."""


@dataclass(frozen=True)
class OfflineCoverage:
    """A world model and a policy from each kind and amount of data, all else the same."""

    task: str = "cartpole-swingup"
    qualities: tuple[str, ...] = ("random", "mixed", "expert")
    amounts: tuple[int, ...] = (6, 96)
    """Episodes of a dataset."""
    model: WorldModelConfig = SMALL
    updates: int = 500
    """Gradient steps of a world model."""
    seeds: tuple[int, ...] = (0, 1, 2)
    iterations: int = 100
    """Actor updates."""
    batch: int = 64
    """Imagined rollouts per update."""
    episodes: int = 10
    """Real episodes of each policy."""
    one_pool: bool = False
    """Whether all seeds choose from the same episodes, in an order of their own, since planned ones
    are dear; else each has episodes of its own."""

    def settings(self) -> Sequence[Setting]:
        return [
            {"data": quality, "episodes": amount}
            for quality in self.qualities
            for amount in self.amounts
        ]

    def measure(self, setting: Setting, seed: int, inputs: Inputs, folder: Path) -> Figures:
        data, out = folder / "data", folder / "world_model"
        behaviours = QUALITIES[str(setting["data"])]
        share = int(setting["episodes"]) // len(behaviours)
        self._gather(behaviours, share, seed, data)
        known = pretrain(Dataset(data), out, recipe(self.model, self.updates, seed)).quality
        config = ExtractionConfig(iterations=self.iterations, batch=self.batch, seed=seed)
        trained = extract(self.task, config, Inputs(data, out / WORLD_MODEL), folder / "extraction")
        training = trained.record["training"]
        return judge(self.task, trained.policy, self.episodes) | {
            "imagined": training["imagined_return"],
            "exploited": 100.0 * (exploited(training) is not None),
            "refused": 100.0 * (too_poor(known, self.task) is not None),
            "reward_error": 100 * known["tasks"][self.task]["reward_error"],
        }

    def _gather(self, behaviours: Sequence[Behaviour], share: int, seed: int, data: Path) -> None:
        """Write ``share`` episodes of each of ``behaviours`` to ``data``, which take turns.

        All are called alike, so that the same number is held out of as many episodes. Cells that
        choose from the same pool share what they collect: the first ones do it, others add to it.
        """
        played = []
        whose = 0 if self.one_pool else seed
        size = max(self.amounts) // len(behaviours) if self.one_pool else share
        for behaviour in behaviours:
            shared = data.parents[1] / f"collected,{behaviour.name},seed={whose}"
            with FileLock(f"{shared}.lock"):
                collect(plan([self.task], [(behaviour, size)], whose), shared, workers=1)
                pool = Dataset(shared)
                chosen = self._chosen(size, share, seed)
                played.append([pool.trajectory(pool.episodes[int(i)]) for i in chosen])
        turns = [episode for turn in zip(*played, strict=True) for episode in turn]
        found = [replace(e, behaviour="gathered", seed=i) for i, e in enumerate(turns)]
        writer = DatasetWriter(data, pool.tasks.values())
        if missing := found[len(writer.episodes) :]:
            writer.extend(missing)

    def _chosen(self, size: int, share: int, seed: int) -> np.ndarray:
        """Return which ``share`` of a pool's first ``size`` episodes a seed's cells have."""
        order = np.random.default_rng(seed).permutation(size) if self.one_pool else np.arange(size)
        return order[:share]

    def draw(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        figure, (returns, errors) = panels(2, 2)
        for place, quality in enumerate(values(results, "data")):
            chosen, colour = selected(results, data=quality), f"C{place}"
            curve(returns, chosen, "episodes", "return", f"{quality}, real", color=colour)
            hollow: dict[str, Any] = {"color": colour, "mfc": "white", "ls": "--"}
            curve(returns, chosen, "episodes", "imagined", f"{quality}, imagined", **hollow)
            curve(errors, chosen, "episodes", "reward_error", str(quality), color=colour)
        returns.set_ylabel("return")
        errors.set_ylabel("reward error on held-out episodes (%)")
        errors.set_yscale("log")
        for axis in (returns, errors):
            measured_places(axis, sorted(values(results, "episodes")))
            axis.set_xlabel("episodes of data")
            axis.legend(fontsize=7)
        return {"coverage": figure}


TOPIC = Topic(
    "offline-coverage",
    "How much and how good must offline data be? World models and policies from random, mixed and "
    "expert episodes; whether the checks of exploitation (the real return more than a quarter "
    "below the imagined one) and of poor models (held-out reward error above 6 %) see what goes "
    "wrong.",
    (
        Column("return", "return"),
        Column("imagined", "imagined return"),
        Column("exploited", "exploitation found (% of seeds)"),
        Column("refused", "model found too poor (% of seeds)"),
        Column("reward_error", "reward error (%)"),
    ),
    {
        "quick": OfflineCoverage(),
        "full": OfflineCoverage(
            amounts=(99, 999), model=SIZES["tiny"], updates=2000, iterations=300, one_pool=True
        ),
        "gpu": OfflineCoverage(
            amounts=(12, 48, 99, 300, 999),
            model=SIZES["5M"],
            updates=20_000,
            iterations=5000,
            episodes=50,
            seeds=(0, 1, 2, 3, 4),
        ),
    },
)
