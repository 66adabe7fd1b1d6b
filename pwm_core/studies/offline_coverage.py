# SPDX-License-Identifier: Apache-2.0
"""How much data, and how good: what policies earn, and what they imagine to earn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from matplotlib.figure import Figure

from pwm_core.data.behaviours import Behaviour, Correlated, SamplingMpc
from pwm_core.data.collect import collect, plan
from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.diagnosis import exploited
from pwm_core.model.config import SIZES, WorldModelConfig
from pwm_core.model.store import TrainedWorldModel
from pwm_core.pretraining.quality import too_poor
from pwm_core.studies.drawing import curve, panels, selected, values
from pwm_core.studies.extracting import begin, judge
from pwm_core.studies.study import Column, Figures, Inputs, Result, Setting, Topic
from pwm_core.studies.world_data import WORLD_MODEL, pretrain

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
    amounts: tuple[int, ...] = (12, 48)
    """Episodes of a dataset."""
    model: WorldModelConfig = field(default_factory=lambda: SIZES["tiny"])
    updates: int = 1000
    """Gradient steps of a world model."""
    seeds: tuple[int, ...] = (0, 1, 2)
    iterations: int = 200
    """Actor updates."""
    episodes: int = 10
    """Real episodes of each policy."""

    def settings(self) -> Sequence[Setting]:
        return [{"data": q, "episodes": amount} for q in self.qualities for amount in self.amounts]

    def measure(self, setting: Setting, seed: int, inputs: Inputs, folder: Path) -> Figures:
        data, out = folder / "data", folder / "world_model"
        behaviours = QUALITIES[str(setting["data"])]
        share = int(setting["episodes"]) // len(behaviours)
        collect(plan([self.task], [(b, share) for b in behaviours], seed), data, workers=1)
        if not (out / WORLD_MODEL).is_file():
            pretrain(data, out, self.model, self.updates, seed)
        config = ExtractionConfig(iterations=self.iterations, seed=seed)
        learned = Inputs(data, out / WORLD_MODEL)
        trained = begin(self.task, config, learned, folder / "extraction").run({})
        training = trained.record["training"]
        known = TrainedWorldModel.load(out / WORLD_MODEL, torch.device("cpu")).quality
        return judge(self.task, trained.policy, self.episodes) | {
            "imagined": training["imagined_return"],
            "exploited": 100.0 * (exploited(training) is not None),
            "refused": 100.0 * (too_poor(known, self.task) is not None),
            "reward_error": 100 * known["tasks"][self.task]["reward_error"],
        }

    def draw(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        figure, (returns, errors) = panels(2, 2)
        for quality in values(results, "data"):
            chosen = selected(results, data=quality)
            curve(returns, chosen, "episodes", "return", f"{quality}, real")
            curve(returns, chosen, "episodes", "imagined", f"{quality}, imagined")
            curve(errors, chosen, "episodes", "reward_error", str(quality))
        returns.set_ylabel("return")
        errors.set_ylabel("reward error on held-out episodes (%)")
        errors.set_yscale("log")
        for axis in (returns, errors):
            axis.set_xscale("log")
            axis.set_xlabel("episodes of data")
            axis.legend(fontsize=7)
        return {"coverage": figure}


TOPIC = Topic(
    "offline-coverage",
    "How much and how good must offline data be? World models and policies from random, mixed and "
    "expert episodes; whether the checks of exploitation (imagined return more than a quarter "
    "above the real one) and of poor models (held-out reward error above 6 %) see what goes wrong.",
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
            amounts=(12, 48, 99, 300, 999), updates=4000, iterations=1000, seeds=(0, 1, 2, 3, 4)
        ),
    },
)
