# SPDX-License-Identifier: Apache-2.0
"""How extraction scales with the number of muscles of MyoSuite's bodies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from pwm_core.evaluation.episodes import Act, run_episodes, uniform_random
from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.runner import Extraction
from pwm_core.extraction.together import Together
from pwm_core.model.config import SIZES
from pwm_core.studies.drawing import panels, selected
from pwm_core.studies.extracting import begin, frozen, start_latents
from pwm_core.studies.gradient_quality import own_quality
from pwm_core.studies.online_world_model import ONLINE, OnlineWorldModel
from pwm_core.studies.score_function import ScoreFunction
from pwm_core.studies.study import Column, Figures, Inputs, Result, Setting, Topic
from pwm_core.studies.table import by_setting, estimate
from pwm_core.studies.world_data import WORLD_MODEL
from pwm_core.tasks import Task, get_task

RETURNS = {
    "let_go": "all muscles let go",
    "random": "random",
    "first": "of random episodes",
    "return": "of its own episodes too",
}
"""Returns that are compared: two controllers that know nothing, and policies extracted from a
world model of random episodes, and from one that has seen what the policies do."""


@dataclass(frozen=True)
class Muscles:
    """World models and policies of bodies with more and more muscles, learned in rounds."""

    tasks: tuple[str, ...] = (
        "myo-leg-walk",
        "myo-torso-pose-fixed",
        "myo-challenge-table-tennis-p0",
    )
    """In EnvPool 1.2.5 standing (``myo-leg-stand-random``) ends after two decisions whatever is
    done, and ``myo-challenge-chase-tag-p1`` after one: too short for a horizon."""
    learning: OnlineWorldModel = field(
        default_factory=lambda: OnlineWorldModel(rounds=2, each=20, updates=600, episodes=1)
    )
    """How each is learned. One episode judges: EnvPool 1.2.5 begins all of them alike."""
    seeds: tuple[int, ...] = (0, 1, 2)
    random_episodes: int = 5
    """Episodes of random actions, with which policies are compared."""
    probe_batches: int = 32
    """Batches of rollouts whose gradients are compared."""

    def settings(self) -> Sequence[Setting]:
        return [{"task": task, "muscles": get_task(task).action.size} for task in self.tasks]

    def measure(self, setting: Setting, seed: int, inputs: Inputs, folder: Path) -> Figures:
        task = get_task(str(setting["task"]))
        learning = {"task": task.name, "method": ONLINE}
        learned = self.learning.measure(learning, seed, inputs, folder)
        first, score = self._signal_to_noise(task, seed, folder)
        return {
            "return": learned["return"],
            "first": learned["curve"][0],
            "random": self._returns(task, uniform_random(task, seed), self.random_episodes),
            "let_go": self._returns(task, _let_go(task), 1),
            "first_order": first,
            "score_function": score,
        }

    def _returns(self, task: Task, act: Act, episodes: int) -> list[float]:
        return run_episodes(task, act, range(episodes)).returns.tolist()

    def _signal_to_noise(self, task: Task, seed: int, folder: Path) -> tuple[float, float]:
        """Return those of both kinds of gradient, of a new actor in the last world model."""
        last = folder / f"round{self.learning.rounds - 1}" / "world_model" / WORLD_MODEL
        config = ExtractionConfig(seed=seed, evaluate="model")
        extraction = begin(task.name, config, Inputs(folder / "data", last), folder / "probe")
        first, score = gradients(extraction, self.probe_batches)
        return own_quality(first)[1], own_quality(score)[1]

    def draw(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        figure, axes = panels(len(self.tasks) + 1)
        for axis, task in zip(axes, self.tasks, strict=False):
            chosen = selected(results, task=task)
            for place, name in enumerate(RETURNS):
                means = [np.mean(result.figures[name]) for result in chosen]
                axis.bar(place, np.mean(means), color=f"C{place}", alpha=0.8)
                axis.scatter([place] * len(means), means, color="black", s=12, zorder=3)
            axis.set_xticks(range(len(RETURNS)), [*RETURNS.values()], rotation=30, ha="right")
            axis.set_title(task)
            axis.set_ylabel("return")
        for name in ("first_order", "score_function"):
            found = [(s["muscles"], estimate(group, name)) for s, group in by_setting(results)]
            known = [(muscles, e.mean) for muscles, e in found if e is not None]
            axes[-1].plot(*zip(*known, strict=True), "o-", label=name.replace("_", " "))
        axes[-1].set_yscale("log")
        axes[-1].set_xlabel("muscles")
        axes[-1].set_ylabel("signal to noise of a batch")
        axes[-1].legend(fontsize=8)
        return {"muscles": figure}


def gradients(extraction: Extraction, batches: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return first-order gradients and score functions ``[batches, parameters]`` of one actor.

    Both are of the same rollouts.
    """
    model, learner = frozen(extraction), extraction.learner
    first, zeroth = Together(model, [learner.twin()]), ScoreFunction(model, learner.twin())
    found = []
    for batch in range(batches):
        extraction.iteration = 1_000_000 + batch
        z = start_latents(extraction)
        noise = learner.noise(len(z), learner.generator(extraction.iteration))
        found.append((*first.ascend(z[None], noise[:, None]), zeroth.ascend(z, noise)))
    one, other = (torch.stack(column) for column in zip(*found, strict=True))
    return one, other


def _let_go(task: Task) -> Act:
    """Return the controller that excites no muscle."""
    return lambda observation: np.full((len(observation), task.action.size), -1.0)


TOPIC = Topic(
    "muscles",
    "How does extraction scale with the number of actions on bodies with muscles (MyoSuite)? "
    "The paper stops at 152 actions. A world model of random episodes, and of those of its own "
    "policies; what these earn, and how good a batch's gradient of the actor is: through the "
    "model, and by the score function.",
    (
        *(Column(name, f"return, {title}") for name, title in RETURNS.items()),
        Column("first_order", "signal to noise, first-order"),
        Column("score_function", "signal to noise, score function"),
    ),
    {
        "quick": Muscles(),
        "full": Muscles(
            tasks=(
                "myo-finger-pose-fixed",
                "myo-hand-pose-0-fixed",
                "myo-leg-walk",
                "myo-torso-pose-fixed",
                "myo-challenge-table-tennis-p0",
                "myo-challenge-soccer-p1",
            ),
            learning=OnlineWorldModel(
                rounds=20, each=20, model=SIZES["1M"], updates=1000, iterations=240, episodes=1
            ),
            seeds=(0, 1, 2, 3, 4),
        ),
        "gpu": Muscles(
            tasks=(
                "myo-leg-walk",
                "myo-torso-pose-fixed",
                "myo-challenge-table-tennis-p0",
                "myo-challenge-soccer-p1",
            ),
            learning=OnlineWorldModel(
                rounds=100, each=50, model=SIZES["19M"], updates=5000, iterations=1000, episodes=1
            ),
            seeds=(0, 1, 2, 3, 4),
        ),
    },
)
