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
from pwm_core.studies.drawing import band, curve, measured_places, panels, selected, values
from pwm_core.studies.extracting import begin, computing_seconds, judge, start_latents
from pwm_core.studies.study import Column, Figures, Inputs, Result, Setting, Topic
from pwm_core.studies.table import estimate

HORIZONS = (1, 2, 4, 8, 16, 32)
HORIZON = 16
"""At which batches are compared."""
PARTS = (16, 4, 1)
"""A policy is judged after a sixteenth of its updates, a quarter and all. Where batches are four
times as large as the one before, a quarter has imagined as much as all of the smaller one's.
"""


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
        returns: dict[str, object] = {}
        for iteration in range(self.iterations):
            extraction.iteration = iteration
            if iteration % 20 == 0:
                noises.append(self._noise(extraction))
            started = computing_seconds(extraction.device)
            extraction.iterate()
            seconds += computing_seconds(extraction.device) - started
            if due := [part for part in PARTS if self._updates(part) == iteration + 1]:
                judged = judge(self.task, extraction.policy(), self.episodes)
                returns |= {returned(part): judged["return"] for part in due}
        return returns | {
            "iteration_ms": 1e3 * seconds / self.iterations,
            "gradient_noise": float(np.mean(noises)),
        }

    def _updates(self, part: int) -> int:
        """Return how many updates one of so many parts has."""
        return max(self.iterations // part, 1)

    def _noise(self, extraction: Extraction) -> float:
        """Return the standard error of the actor's gradient over its length."""
        model, index, learner = extraction.model, extraction.index, extraction.learner
        return gradient_noise(
            model, index, learner, start_latents(extraction), extraction.iteration
        )

    def draw(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        varied = [name for name in OTHER if len(values(results, name)) > 1]
        figures = {"curves": self._over_settings(results, varied)} if varied else {}
        if estimate(results, returned(4)):
            figures["computing"] = self._over_computing(selected(results, horizon=HORIZON))
        return figures

    def _over_settings(self, results: Sequence[Result], varied: Sequence[str]) -> Figure:
        """Draw the figures over each of the settings that are ``varied``."""
        figure, axes = panels(3 * len(varied), 3)
        for row, over in enumerate(varied):
            for axis, (name, title) in zip(axes[3 * row :], FIGURES.items(), strict=False):
                for value in values(results, OTHER[over]):
                    line = selected(results, **{OTHER[over]: value})
                    line = sorted(line, key=lambda result: result.setting[over])
                    if len(values(line, over)) > 1:
                        curve(axis, line, over, name, f"{OTHER[over]} {value}")
                measured_places(axis, sorted(values(results, over)))
                axis.set_xlabel(f"{over} ({UNITS[over]})")
                axis.set_ylabel(title)
                axis.set_ylim(bottom=0)
                if axis.lines:
                    axis.legend(fontsize=8)
        return figure

    def _over_computing(self, results: Sequence[Result]) -> Figure:
        """Draw what batches return at equal numbers of imagined decisions, and of seconds."""
        figure, (decisions, seconds) = panels(2, 2)
        for batch in sorted(values(results, "batch")):
            group = selected(results, batch=batch)
            cost = estimate(group, "iteration_ms")
            if cost is None:
                continue
            measured = {self._updates(part): estimate(group, returned(part)) for part in PARTS}
            known = {updates: found for updates, found in measured.items() if found is not None}
            for axis, each in ((decisions, HORIZON * batch), (seconds, cost.mean / 1e3)):
                places = [each * updates for updates in known]
                band(axis, places, list(known.values()), f"batch {batch}")
        for axis, name in ((decisions, "imagined decisions"), (seconds, "seconds of computing")):
            axis.set_xscale("log")
            axis.set_xlabel(f"{name}, horizon {HORIZON}")
            axis.set_ylabel("return")
            axis.set_ylim(bottom=0)
            if axis.lines:
                axis.legend(fontsize=8)
        return figure


def returned(part: int) -> str:
    """Return the name of the returns after one of so many parts of the updates."""
    return "return" if part == 1 else f"return_of_{part}"


OTHER = {"horizon": "batch", "batch": "horizon"}
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
    (
        Column("return", "return"),
        Column(returned(4), "after a quarter of the updates"),
        Column(returned(16), "after a sixteenth"),
        Column("gradient_noise", FIGURES["gradient_noise"]),
        Column("iteration_ms", FIGURES["iteration_ms"]),
    ),
    {
        "quick": HorizonBatch(),
        "full": HorizonBatch(
            pairs=(
                *((h, 128) for h in HORIZONS if h != HORIZON),
                *((HORIZON, b) for b in (32, 128, 512, 2048)),
            )
        ),
        "gpu": HorizonBatch(
            pairs=tuple((h, b) for h in HORIZONS for b in (32, 64, 128, 512, 2048)),
            seeds=(0, 1, 2, 3, 4),
            iterations=5000,
        ),
    },
    tasks_read=lambda study: (study.task,),
    reads_world_model=True,
)
