# SPDX-License-Identifier: Apache-2.0
"""How far to imagine, and how many rollouts at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.gradient_noise import gradient_noise
from pwm_core.extraction.runner import Extraction
from pwm_core.studies.drawing import curve, measured_places, panels, selected, values
from pwm_core.studies.extracting import begin, computing_seconds, judge, start_latents
from pwm_core.studies.study import Column, Figures, Inputs, Result, Setting, Topic


@dataclass(frozen=True)
class HorizonBatch:
    """Extractions that differ in horizon and batch only, for as many updates each."""

    task: str = "cartpole-swingup"
    pairs: tuple[tuple[int, int], ...] = (
        (1, 64),
        (4, 64),
        (16, 16),
        (16, 64),
        (16, 256),
        (32, 64),
    )
    """Horizon and batch."""
    seeds: tuple[int, ...] = (0, 1, 2)
    iterations: int = 100
    """Actor updates."""
    episodes: int = 10
    """Real episodes of each policy."""

    def settings(self) -> Sequence[Setting]:
        return [{"horizon": horizon, "batch": batch} for horizon, batch in self.pairs]

    def measure(self, setting: Setting, seed: int, inputs: Inputs, folder: Path) -> Figures:
        config = ExtractionConfig(
            iterations=self.iterations,
            batch=int(setting["batch"]),
            horizon=int(setting["horizon"]),
            seed=seed,
            evaluate="model",
        )
        extraction = begin(self.task, config, inputs, folder)
        noises, seconds = [], 0.0
        for iteration in range(self.iterations):
            extraction.iteration = iteration
            if iteration % 20 == 0:
                noises.append(self._noise(extraction))
            started = computing_seconds(extraction.device)
            extraction.iterate()
            seconds += computing_seconds(extraction.device) - started
        return judge(self.task, extraction.policy(), self.episodes) | {
            "iteration_ms": 1e3 * seconds / self.iterations,
            "gradient_noise": float(np.mean(noises)),
        }

    def _noise(self, extraction: Extraction) -> float:
        """Return the standard error of the actor's gradient over its length."""
        model, index, learner = extraction.model, extraction.index, extraction.learner
        return gradient_noise(
            model, index, learner, start_latents(extraction), extraction.iteration
        )

    def draw(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        figure, axes = panels(6, 3)
        for row, (over, other) in enumerate((("horizon", "batch"), ("batch", "horizon"))):
            for axis, (name, title) in zip(axes[3 * row :], FIGURES.items(), strict=False):
                for value in values(results, other):
                    line = selected(results, **{other: value})
                    line = sorted(line, key=lambda result: result.setting[over])
                    if len(values(line, over)) > 1:
                        curve(axis, line, over, name, f"{other} {value}")
                measured_places(axis, sorted(values(results, over)))
                axis.set_xlabel(f"{over} ({UNITS[over]})")
                axis.set_ylabel(title)
                axis.set_ylim(bottom=0)
                if axis.lines:
                    axis.legend(fontsize=8)
        return {"curves": figure}


UNITS = {"horizon": "decisions", "batch": "rollouts"}
FIGURES = {
    "return": "return",
    "gradient_noise": "gradient's noise over its length",
    "iteration_ms": "ms of computing per update",
}

TOPIC = Topic(
    "horizon-batch",
    "How far should policies be imagined, and how many rollouts at once? The paper uses 16 "
    "decisions and 512 rollouts, and found smaller batches better. All settings get the same "
    "number of updates in the same world model.",
    tuple(Column(name, title) for name, title in FIGURES.items()),
    {
        "quick": HorizonBatch(),
        "full": HorizonBatch(
            pairs=tuple((h, b) for h in (1, 2, 4, 8, 16, 32) for b in (32, 128, 512)),
            seeds=(0, 1, 2, 3, 4),
            iterations=1000,
        ),
        "gpu": HorizonBatch(
            pairs=tuple((h, b) for h in (1, 2, 4, 8, 16, 32) for b in (32, 64, 128, 512, 2048)),
            seeds=(0, 1, 2, 3, 4),
            iterations=5000,
        ),
    },
    reads_data=True,
    reads_world_model=True,
)
