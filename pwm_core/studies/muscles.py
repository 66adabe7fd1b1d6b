# SPDX-License-Identifier: Apache-2.0
"""How extraction scales with the number of muscles of MyoSuite's bodies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pwm_core.data.behaviours import Behaviour
from pwm_core.data.dataset import Dataset
from pwm_core.evaluation.episodes import Act, deterministic, run_episodes, uniform_random
from pwm_core.extraction.config import ExtractionOptions
from pwm_core.extraction.runner import Extraction
from pwm_core.extraction.store import POLICY_FILE, TrainedPolicy
from pwm_core.model.config import SIZES
from pwm_core.model.store import TrainedWorldModel
from pwm_core.studies.drawing import curve, measured_places, panels, selected, values
from pwm_core.studies.extracting import frozen, reward_error, rollouts, start_latents
from pwm_core.studies.gradient_quality import first_order, own_quality, score_function
from pwm_core.studies.online_world_model import ONLINE, OnlineWorldModel
from pwm_core.studies.score_function import ScoreFunction
from pwm_core.studies.study import Column, Figures, Inputs, Result, Setting, Topic
from pwm_core.studies.synergies import Synergies
from pwm_core.studies.world_data import WORLD_MODEL, only
from pwm_core.tasks import Task, get_task

RETURNS = {
    "let_go": "all muscles let go",
    "random": "each muscle random",
    "data": "random synergies (data)",
    "score": "score function",
    "first": "first-order",
    "return": "first-order, with its own episodes",
}
"""Returns that are compared: of what knows nothing; of policies by both kinds of gradient from a
world model of random synergies; of first-order extraction that goes on with its own episodes."""


@dataclass(frozen=True)
class FromSynergies(OnlineWorldModel):
    """A world model and a policy that are learned in rounds, from episodes of synergies on."""

    first: int = 100
    """Episodes of the first round."""
    behaviour: Synergies = field(default_factory=Synergies)
    """What acts in them."""

    def random(self) -> Behaviour:
        return self.behaviour

    def before(self, number: int) -> int:
        return self.first + (number - 1) * self.each if number else 0


@dataclass(frozen=True)
class Muscles:
    """World models and policies of bodies with more and more muscles."""

    tasks: tuple[str, ...] = (
        "myo-leg-walk",
        "myo-torso-pose-fixed",
        "myo-challenge-table-tennis-p0",
    )
    """In EnvPool 1.2.5 standing (``myo-leg-stand-random``) ends after two decisions whatever is
    done, and ``myo-challenge-chase-tag-p1`` after one: too short for a horizon."""
    learning: FromSynergies = field(
        default_factory=lambda: FromSynergies(
            rounds=3, each=15, noise=0.6, updates=400, iterations=100, episodes=1
        )
    )
    """How each is learned. One episode judges: EnvPool 1.2.5 begins all of them alike."""
    times: tuple[int, ...] | None = None
    """How many times as many episodes each of the tasks gets; one times by default."""
    seeds: tuple[int, ...] = (0, 1, 2)
    random_episodes: int = 5
    """Episodes in which each muscle is random."""
    probe_batches: int = 32
    """Batches of rollouts whose gradients are compared."""

    def settings(self) -> Sequence[Setting]:
        return [{"task": task, "muscles": get_task(task).action.size} for task in self.tasks]

    def measure(self, setting: Setting, seed: int, inputs: Inputs, folder: Path) -> Figures:
        task = get_task(str(setting["task"]))
        learning = self._learning(task)
        learned = learning.measure({"task": task.name, "method": ONLINE}, seed, inputs, folder)
        policy = TrainedPolicy.load(folder / "round0" / "policy" / POLICY_FILE)
        extraction = self._extraction(task, learning, seed, folder)
        ratios = self._signal_to_noise(extraction)
        self._follow_score(extraction)
        quality = extraction.trained.quality["tasks"][task.name]
        ends = quality["termination_error"]
        return {
            "let_go": self._returns(task, _let_go(task), 1),
            "random": self._returns(task, uniform_random(task, seed), self.random_episodes),
            "data": extraction.dataset.episodes.column("total_reward").tolist(),
            "score": self._returns(task, deterministic(extraction.policy()), 1),
            "first": learned["curve"][0],
            "return": learned["return"],
            "score_imagined": extraction.imagined_return(_first_observation(extraction)),
            "imagined": policy.record["training"]["imagined_return"],
            "reward_error": reward_error(extraction.trained, task.name),
            "termination_error": None if ends is None else 100 * ends,
            "one_step": 100 * quality["latent_error"][0],
            "open_loop": 100 * quality["latent_error"][-1],
            "first_order": ratios[0],
            "score_function": ratios[1],
        }

    def _learning(self, task: Task) -> FromSynergies:
        """Return how the task is learned."""
        times = self.times[self.tasks.index(task.name)] if self.times else 1
        learning = self.learning
        return replace(learning, first=times * learning.first, each=times * learning.each)

    def _extraction(
        self, task: Task, learning: FromSynergies, seed: int, folder: Path
    ) -> Extraction:
        """Return an extraction like that of the first round, which has not begun."""
        file, whole = folder / "round0" / "world_model" / WORLD_MODEL, Dataset(folder / "data")
        data = only(whole, whole.episodes[: learning.first])
        trained = TrainedWorldModel.load(file, torch.device("cpu"))
        out, config = folder / "score_function", learning.extraction(seed)
        return Extraction(trained, data, task.name, out, config, ExtractionOptions())

    def _signal_to_noise(self, extraction: Extraction) -> tuple[float, float]:
        """Return those of both kinds of gradient, of the untrained actor in the same rollouts."""
        model, learner = frozen(extraction), extraction.learner
        samples = list(rollouts(extraction, learner, self.probe_batches))
        first, score = (
            own_quality(kind(model, learner, samples))[1] for kind in (first_order, score_function)
        )
        return first, score

    def _follow_score(self, extraction: Extraction) -> None:
        """Let the actor follow the score function for as many updates."""
        method = ScoreFunction(frozen(extraction), extraction.learner)
        for iteration in range(extraction.config.iterations):
            extraction.iteration = iteration
            method.update(start_latents(extraction), iteration)

    def _returns(self, task: Task, act: Act, episodes: int) -> list[float]:
        return run_episodes(task, act, range(episodes)).returns.tolist()

    def draw(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        tasks = values(results, "task")
        figure, axes = panels(len(tasks) + 1, 2)
        for axis, task in zip(axes, tasks, strict=False):
            chosen = selected(results, task=task)
            for place, name in enumerate(RETURNS):
                means = [np.mean(result.figures[name]) for result in chosen]
                axis.bar(place, np.mean(means), color=f"C{place}", alpha=0.8)
                axis.scatter([place] * len(means), means, color="black", s=12, zorder=3)
            names = [title.replace(", ", ",\n") for title in RETURNS.values()]
            axis.set_xticks(range(len(RETURNS)), names, rotation=30, ha="right", fontsize=8)
            axis.set_title(f"{task}, {chosen[0].setting['muscles']} muscles", fontsize=10)
            axis.set_ylabel("return")
        for name in ("first_order", "score_function"):
            curve(axes[-1], results, "muscles", name, name.replace("_", " "))
        measured_places(axes[-1], sorted(values(results, "muscles")))
        axes[-1].set_yscale("log")
        axes[-1].set_xlabel("muscles")
        axes[-1].set_ylabel("signal to noise of a batch's gradient")
        axes[-1].legend(fontsize=8)
        return {"muscles": figure}


def _let_go(task: Task) -> Act:
    """Return the controller that excites no muscle."""
    return lambda observation: np.full((len(observation), task.action.size), -1.0)


def _first_observation(extraction: Extraction) -> Tensor:
    """Return the one ``[1, O]`` that all episodes begin with."""
    dataset = extraction.dataset
    return torch.from_numpy(dataset.observation[[dataset.episodes[0].start]])


TOPIC = Topic(
    "muscles",
    "How does extraction scale with the number of actions on bodies with muscles (MyoSuite)? The "
    "paper stops at 152 actions. From a world model of random synergies policies are extracted by "
    "first-order gradients and by the score function; the first-order policy then goes on, round "
    "by round, with episodes of its own. What they earn and imagine, how well the first model "
    "predicts, and how good a batch's gradient of the untrained actor is in it.",
    (
        *(Column(name, f"return, {title}") for name, title in RETURNS.items()),
        Column("score_imagined", "imagined, score function"),
        Column("imagined", "imagined, first-order"),
        Column("reward_error", "reward error (%)"),
        Column("termination_error", "termination error (%)"),
        Column("one_step", "latent error, one step (% of variance)"),
        Column("open_loop", "latent error, 16 steps (% of variance)"),
        Column("score_function", "signal to noise, score function"),
        Column("first_order", "signal to noise, first-order"),
    ),
    {
        "quick": Muscles(),
        "full": Muscles(
            learning=FromSynergies(
                rounds=4,
                each=30,
                noise=0.6,
                model=SIZES["1M"],
                updates=1500,
                iterations=200,
                episodes=1,
                first=400,
            ),
            times=(10, 1, 5),
        ),
        "gpu": Muscles(
            tasks=(
                "myo-leg-walk",
                "myo-torso-pose-fixed",
                "myo-challenge-table-tennis-p0",
                "myo-challenge-soccer-p1",
            ),
            learning=FromSynergies(
                rounds=50,
                each=15,
                noise=0.6,
                model=SIZES["19M"],
                updates=5000,
                iterations=1000,
                episodes=1,
                first=2000,
            ),
            seeds=(0, 1, 2, 3, 4),
            probe_batches=128,
        ),
    },
)
