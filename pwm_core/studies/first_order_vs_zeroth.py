# SPDX-License-Identifier: Apache-2.0
"""First-order extraction against planners and the score function, all in one world model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock
from matplotlib.figure import Figure

from pwm_core.evaluation.comparison import Planner
from pwm_core.evaluation.controllers import Planners
from pwm_core.evaluation.controllers.cem import CemConfig
from pwm_core.evaluation.controllers.gradient import GradientConfig
from pwm_core.evaluation.controllers.mppi import MppiConfig
from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.runner import Extraction
from pwm_core.extraction.store import POLICY_FILE, TrainedPolicy
from pwm_core.files import write_atomically
from pwm_core.studies.drawing import bars, measured_places, panels, selected
from pwm_core.studies.extracting import (
    begin,
    computing_seconds,
    fingerprints,
    frozen,
    judge,
    rollouts,
    start_latents,
)
from pwm_core.studies.gradient_quality import first_order, own_quality, score_function
from pwm_core.studies.score_function import ProximalPolicy, ScoreFunction
from pwm_core.studies.study import Column, Figures, Inputs, Result, Setting, Topic

FIRST_ORDER, SCORE, PROXIMAL = "first-order", "score function", "PPO"
ZEROTH = {SCORE: ScoreFunction, PROXIMAL: ProximalPolicy}
PLANNERS = ("mppi", "cem", "gradient", "policy+mppi")
SECONDS_FILE = "seconds.json"
"""What the extraction of a policy that several cells use took; there once the policy is."""


@dataclass(frozen=True)
class FirstOrderVsZeroth:
    """Policies and planners of one world model, in the real simulator."""

    tasks: tuple[str, ...] = ("cartpole-swingup",)
    extractors: tuple[str, ...] = (FIRST_ORDER, SCORE)
    """Ways of extraction; PPO, too, learns from imagined rollouts."""
    seeds: tuple[int, ...] = (0, 1, 2)
    iterations: int = 100
    """Actor updates of each extraction; PPO's are of several steps."""
    batch: int = 64
    episodes: int = 10
    """Real episodes of each policy."""
    planner_episodes: int = 1
    """Real episodes of each planner and seed; planning takes long."""
    planners: Planners = field(
        default_factory=lambda: Planners(
            mppi=MppiConfig(samples=128, iterations=3, elites=16, policy_plans=12),
            cem=CemConfig(samples=128, generations=3, elites=16),
            gradient=GradientConfig(starts=8, updates=10),
        )
    )
    """Settings of the planners; here fewer candidates than usual, for plans of three numbers."""
    horizons: tuple[int, ...] = (1, 4, 16)
    """Imagined decisions over which gradients are judged."""
    probe_after: int = 50
    """First-order updates after which gradients are judged, the same policy for both kinds."""
    probe_batches: int = 16
    """Batches of rollouts whose gradients are compared."""

    def settings(self) -> Sequence[Setting]:
        methods = (*self.extractors, *PLANNERS)
        return [{"task": task, "method": method} for task in self.tasks for method in methods]

    def measure(self, setting: Setting, seed: int, inputs: Inputs, folder: Path) -> Figures:
        task, method = str(setting["task"]), str(setting["method"])
        if method in PLANNERS:
            return self._planned(task, method, seed, inputs, folder)
        if method == PROXIMAL:  # which has no gradient of its own at a given policy
            return self._zeroth(method, task, seed, inputs, folder)
        probe = self._extraction(task, seed, inputs, folder / "probe")
        gradients = self._gradients(probe, method)
        if method == SCORE:
            return self._zeroth(method, task, seed, inputs, folder) | gradients
        policy = self._policy(task, seed, inputs, folder)
        seconds = json.loads((policy.parent / SECONDS_FILE).read_text())
        judged = judge(task, TrainedPolicy.load(policy).policy, self.episodes)
        return judged | {"extraction_s": seconds} | gradients

    def _extraction(self, task: str, seed: int, inputs: Inputs, out: Path) -> Extraction:
        config = ExtractionConfig(
            iterations=self.iterations, batch=self.batch, seed=seed, evaluate="model"
        )
        return begin(task, config, inputs, out)

    def _policy(self, task: str, seed: int, inputs: Inputs, folder: Path) -> Path:
        """Return the first-order policy of ``seed``, which several cells need: the first makes it.

        The others wait; where they do not run at the same time, they find it.
        """
        shared = folder.parent / f"policy,task={task},seed={seed}"
        with FileLock(f"{shared}.lock"):
            if not (shared / SECONDS_FILE).is_file():
                shutil.rmtree(shared, ignore_errors=True)  # whose seconds would be those of a rest
                extraction = self._extraction(task, seed, inputs, shared)
                started = computing_seconds(extraction.device)
                extraction.run(fingerprints(inputs))
                seconds = computing_seconds(extraction.device) - started
                write_atomically(shared / SECONDS_FILE, json.dumps(seconds))
        return shared / POLICY_FILE

    def _zeroth(
        self, name: str, task: str, seed: int, inputs: Inputs, folder: Path
    ) -> dict[str, object]:
        extraction = self._extraction(task, seed, inputs, folder / "extraction")
        method = ZEROTH[name](frozen(extraction), extraction.learner)
        started = computing_seconds(extraction.device)
        for iteration in range(self.iterations):
            extraction.iteration = iteration
            method.update(start_latents(extraction), iteration)
        seconds = computing_seconds(extraction.device) - started
        return judge(task, extraction.policy(), self.episodes) | {"extraction_s": seconds}

    def _planned(
        self, task: str, method: str, seed: int, inputs: Inputs, folder: Path
    ) -> dict[str, object]:
        policy = self._policy(task, seed, inputs, folder)
        seeds = tuple(range(seed * self.planner_episodes, (seed + 1) * self.planner_episodes))
        planning = self.planners.named(method)
        score = Planner(task, method, planning, policy, inputs.world_model, seeds).run()
        assert score.decision_ms is not None
        return {"return": list(score.returns), "decision_ms": score.decision_ms[0]}

    def _gradients(self, extraction: Extraction, method: str) -> dict[str, object]:
        """Return noise and signal to noise of the actor's gradient over the horizon."""
        for _ in range(self.probe_after):
            extraction.iterate()
            extraction.iteration += 1
        model, noises, ratios = frozen(extraction), [], []
        for horizon in self.horizons:
            learner = extraction.learner.twin()
            learner.config = replace(learner.config, horizon=horizon)
            samples = rollouts(extraction, learner, self.probe_batches)
            gradients = score_function if method == SCORE else first_order
            noise_power, ratio = own_quality(gradients(model, learner, samples))
            noises.append(noise_power)
            ratios.append(ratio)
        middle = self.horizons.index(16) if 16 in self.horizons else -1
        return {
            "variance": noises[middle],
            "signal_to_noise": ratios[middle],
            "horizons": self.horizons,
            "variance_by_horizon": noises,
            "signal_to_noise_by_horizon": ratios,
        }

    def draw(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        return {task: self._drawn(selected(results, task=task)) for task in self.tasks}

    def _drawn(self, results: Sequence[Result]) -> Figure:
        figure, (returns, times, noise, ratio) = panels(4, 2)
        bars(returns, results, "method", "return")
        returns.set_ylabel("return")
        bars(times, results, "method", "decision_ms")
        times.set_yscale("log")
        times.set_ylabel("ms per decision")
        for colour, method in enumerate((FIRST_ORDER, SCORE)):
            for result in selected(results, method=method):
                for axes, name in (
                    (noise, "variance_by_horizon"),
                    (ratio, "signal_to_noise_by_horizon"),
                ):
                    label = method if result.seed == self.seeds[0] else None
                    points = result.figures["horizons"], result.figures[name]
                    axes.plot(*points, color=f"C{colour}", marker="o", ms=3, label=label)
        for axes, name in (
            (noise, "variance of the gradient"),
            (ratio, "signal to noise of a batch"),
        ):
            measured_places(axes, self.horizons)
            axes.set_yscale("log")
            axes.set_xlabel("horizon (decisions)")
            axes.set_ylabel(name)
            axes.legend(fontsize=8)
        return figure


TOPIC = Topic(
    "first-order-vs-zeroth",
    "On one world model: are policies extracted by first-order gradients better than planning in "
    "the same model (MPPI, CEM, first-order planning, MPPI around the policy) and than extraction "
    "by the score function (REINFORCE in imagination, critics as a baseline; at the larger "
    "scales PPO too)? Return in the real simulator, time, and how noisy the two kinds of gradient "
    "are over the horizon.",
    (
        Column("return", "return"),
        Column("extraction_s", "extraction (s of computing)"),
        Column("decision_ms", "ms per decision, by the clock"),
        Column("variance", "variance of the gradient, horizon 16"),
        Column("signal_to_noise", "signal to noise of a batch, horizon 16"),
    ),
    {
        "quick": FirstOrderVsZeroth(),
        "full": FirstOrderVsZeroth(
            extractors=(FIRST_ORDER, SCORE, PROXIMAL),
            iterations=600,
            planner_episodes=2,
            horizons=(1, 2, 4, 8, 16, 32),
        ),
        "gpu": FirstOrderVsZeroth(
            tasks=("cartpole-swingup", "cartpole-balance"),
            extractors=(FIRST_ORDER, SCORE, PROXIMAL),
            seeds=(0, 1, 2, 3, 4),
            iterations=10_000,
            batch=512,
            episodes=50,
            planner_episodes=10,
            planners=Planners(),
            horizons=(1, 2, 4, 8, 16, 32, 64),
            probe_after=1000,
            probe_batches=256,
        ),
    },
    tasks_read=lambda study: study.tasks,
    reads_world_model=True,
)
