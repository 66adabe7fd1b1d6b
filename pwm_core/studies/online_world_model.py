# SPDX-License-Identifier: Apache-2.0
"""Extraction while the world model is trained from nothing on what the policy does, against SAC."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pwm_core.data.behaviours import Behaviour, Correlated, SoftActorCritic, StoredPolicy
from pwm_core.data.dataset import Dataset, DatasetWriter, TaskInfo, Trajectory
from pwm_core.evaluation.episodes import Act, deterministic, run_episodes
from pwm_core.extraction.config import ExtractionConfig, ExtractionOptions
from pwm_core.extraction.runner import Extraction
from pwm_core.extraction.store import POLICY_FILE, TrainedPolicy
from pwm_core.model.config import SIZES, WorldModelConfig
from pwm_core.studies.drawing import panels, selected, values
from pwm_core.studies.extracting import fingerprints
from pwm_core.studies.study import Column, Figures, Inputs, Result, Setting, Topic
from pwm_core.studies.world_data import WORLD_MODEL, pretrain, recipe
from pwm_core.tasks import Task, get_task

ONLINE, SAC = "world model", "SAC"
SEED = 50_000
"""Episodes of training have other seeds than those of evaluation."""


@dataclass(frozen=True)
class OnlineWorldModel:
    """Both learn a task from nothing and are judged after as many decisions of it."""

    tasks: tuple[str, ...] = ("cartpole-swingup",)
    rounds: int = 4
    """Times that episodes are added, model and policy go on, and the policy is judged; even, so
    that there is a half of them."""
    each: int = 3
    """Episodes that are added each time; those of the first are random."""
    noise: float = 0.3
    """Standard deviation of what is added to the policy's actions, which are in [-1, 1]."""
    model: WorldModelConfig = field(default_factory=lambda: SIZES["tiny"])
    updates: int = 150
    """Gradient steps of the world model in a round."""
    seeds: tuple[int, ...] = (0, 1, 2)
    iterations: int = 60
    """Actor updates in a round; critics begin anew and learn alone for a sixth as many more."""
    episodes: int = 5
    """Real episodes by which a policy is judged."""

    def settings(self) -> Sequence[Setting]:
        return [{"task": task, "method": method} for task in self.tasks for method in (ONLINE, SAC)]

    def measure(self, setting: Setting, seed: int, inputs: Inputs, folder: Path) -> Figures:
        task = get_task(str(setting["task"]))
        learn = self._sac if setting["method"] == SAC else self._online
        curve = [self._judged(task, act) for act in learn(task, seed, folder)]
        return {
            "return": curve[-1],
            "at_half": curve[max(self.rounds // 2 - 1, 0)],
            "decisions": [number * self._decisions(task) for number in range(1, self.rounds + 1)],
            "curve": curve,
        }

    def random(self) -> Behaviour:
        """Return what acts in the first round."""
        return Correlated()

    def before(self, number: int) -> int:
        """Return the episodes there are before round ``number``."""
        return number * self.each

    def extraction(self, seed: int) -> ExtractionConfig:
        """Return how policies are extracted in a round."""
        return ExtractionConfig(
            iterations=self.iterations + self.iterations // 6,
            critic_iterations=self.iterations // 6,
            seed=seed,
            evaluate="model",
        )

    def _decisions(self, task: Task) -> int:
        """Return the decisions of a round."""
        return self.each * task.episode_steps

    def _judged(self, task: Task, act: Act) -> list[float]:
        return run_episodes(task, act, range(self.episodes)).returns.tolist()

    def _sac(self, task: Task, seed: int, folder: Path) -> Iterator[Act]:
        """Yield what SAC has learned after each round."""
        SoftActorCritic()  # refuses, and says what to install, where the library is missing
        from pwm_core.data.behaviours.sac_training import RecordedEnvironment, untrained

        agent = untrained(task, RecordedEnvironment(task, _first_seed(seed)), seed)
        for _ in range(self.rounds):
            agent.learn(self._decisions(task), reset_num_timesteps=False)
            yield lambda observation: agent.predict(observation, deterministic=True)[0]

    def _online(self, task: Task, seed: int, folder: Path) -> Iterator[Act]:
        """Yield the policy after each round."""
        policy: Path | None = None
        for number in range(self.rounds):
            out = folder / f"round{number}"
            begun, policy = policy, out / "policy" / POLICY_FILE
            if not policy.is_file():
                data = self._played(task, begun, number, seed, folder)
                self._learn(task, data, begun, seed, out)
            yield deterministic(TrainedPolicy.load(policy).policy)

    def _played(
        self, task: Task, policy: Path | None, number: int, seed: int, folder: Path
    ) -> Dataset:
        """Return all episodes up to round ``number``; its own are played where they are missing.

        All are called alike, so that no more than the last few of them are held out.
        """
        writer, present = DatasetWriter(folder / "data", [TaskInfo.of(task)]), self.before(number)
        if len(writer.episodes) == present:
            behaviour = StoredPolicy.open(policy, self.noise) if policy else self.random()
            last = self.before(number + 1)
            together, first = behaviour.block or last, _first_seed(seed)
            blocks = (
                behaviour.collect(task, min(together, last - begin), first + begin)
                for begin in range(present, last, together)
            )
            numbered = enumerate(chain.from_iterable(blocks), start=present)
            writer.extend([Trajectory(task.name, "online", i, **vars(e)) for i, e in numbered])
        return Dataset(writer.path)

    def _learn(self, task: Task, data: Dataset, begun: Path | None, seed: int, out: Path) -> None:
        """Let model and policy go on from those ``begun``, if any; they end in ``out``."""
        model = begun.parents[1] / "world_model" / WORLD_MODEL if begun else None
        sizes = replace(self.model, termination=task.episodic)
        config = recipe(sizes, self.updates, seed)
        trained = pretrain(data, out / "world_model", config, model)
        extraction = self.extraction(seed)
        policy = TrainedPolicy.load(begun) if begun else None
        once = ExtractionOptions(evaluate_every=extraction.iterations)
        read = Inputs(data.path, out / "world_model" / WORLD_MODEL)
        run = Extraction(trained, data, task.name, out / "policy", extraction, once, policy)
        run.run(fingerprints(read))

    def draw(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        figure, axes = panels(len(self.tasks))
        for axis, task in zip(axes, self.tasks, strict=True):
            of_task = selected(results, task=task)
            for colour, method in enumerate(values(of_task, "method")):
                _draw_curves(axis, selected(of_task, method=method), str(method), f"C{colour}")
            axis.set_title(task)
            axis.set_xlabel("decisions")
            axis.set_ylabel("return")
            axis.legend(fontsize=8)
        return {"return": figure}


def _first_seed(seed: int) -> int:
    """Return the seed of the first episode of training."""
    return SEED + 10_000 * seed


def _draw_curves(axis: Axes, results: Sequence[Result], label: str, colour: str) -> None:
    """Draw each seed's mean returns, and their mean over seeds."""
    curves = np.array([np.mean(result.figures["curve"], 1) for result in results])
    decisions = results[0].figures["decisions"]
    axis.plot(decisions, curves.T, color=colour, alpha=0.3, lw=1)
    axis.plot(decisions, curves.mean(0), color=colour, marker="o", ms=3, label=label)


TOPIC = Topic(
    "online-world-model",
    "Does extraction need a model that was trained before? A world model is trained from nothing "
    "on what its own policy does, round by round, the policy going on in it, against soft "
    "actor-critic (stable-baselines3, its own settings) after as many decisions in the simulator.",
    (Column("at_half", "return after half the decisions"), Column("return", "return after all")),
    {
        "quick": OnlineWorldModel(),
        "full": OnlineWorldModel(rounds=12, each=5, updates=500, iterations=150),
        "gpu": OnlineWorldModel(
            tasks=("cartpole-swingup", "cheetah-run", "walker-walk", "hopper-hop"),
            rounds=100,
            each=10,
            model=SIZES["5M"],
            updates=2000,
            seeds=(0, 1, 2, 3, 4),
            iterations=600,
        ),
    },
)
