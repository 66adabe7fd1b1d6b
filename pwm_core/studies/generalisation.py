# SPDX-License-Identifier: Apache-2.0
"""Tasks and bodies that the world model has never seen: what must be learned, and of how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from matplotlib.figure import Figure

from pwm_core.data.behaviours import Behaviour, Correlated, SamplingMpc, StoredPolicy
from pwm_core.data.dataset import Dataset, DatasetWriter, TaskInfo, Trajectory
from pwm_core.errors import PwmError
from pwm_core.evaluation.episodes import deterministic, run_episodes
from pwm_core.extraction.config import ExtractionConfig, ExtractionOptions
from pwm_core.extraction.runner import Extraction
from pwm_core.extraction.store import POLICY_FILE, TrainedPolicy
from pwm_core.model.store import TrainedWorldModel
from pwm_core.studies.drawing import bars, panels, selected
from pwm_core.studies.extracting import extract, fingerprints, reward_error
from pwm_core.studies.study import Column, Figures, Inputs, Result, Setting, Topic
from pwm_core.studies.table import by_setting
from pwm_core.studies.world_data import WORLD_MODEL, only, pretrain, recipe
from pwm_core.tasks import Task, get_task
from pwm_core.tasks.shift import NOMINAL, Shift

NOTHING, EMBEDDING, WHOLE, NEW = "nothing", "embedding", "whole model", "new model"
SEED = 40_000
"""Episodes of data have other seeds than those of evaluation."""


@dataclass(frozen=True)
class Newcomer:
    """A task that the world model was not trained on."""

    task: str
    like: str = ""
    """Task of the world model with the same body, whose policy is what there is without any data;
    none where no task has it."""
    shift: Shift = NOMINAL
    """What is different about the body."""

    @property
    def name(self) -> str:
        """Its name in data and models, where ``task`` may be known on the nominal body."""
        return self.task if self.shift == NOMINAL else f"{self.task} {self.shift}"

    @property
    def robot(self) -> Task:
        return self.shift.of(get_task(self.task))

    @property
    def info(self) -> TaskInfo:
        return replace(TaskInfo.of(get_task(self.task)), name=self.name)


@dataclass(frozen=True)
class Generalisation:
    """Newcomers to a trained world model, learned in several ways."""

    newcomers: tuple[Newcomer, ...] = (
        Newcomer("cartpole-balance-sparse", like="cartpole-balance"),
        Newcomer("cartpole-swingup", like="cartpole-swingup", shift=Shift(actuator_gain=0.4)),
    )
    ways: tuple[tuple[str, int], ...] = (
        (NOTHING, 0),
        (EMBEDDING, 6),
        (WHOLE, 6),
        (NEW, 6),
        (WHOLE, 18),
    )
    """What is learned, of how many episodes; a third each of random actions, of a good controller
    with noise, and of that controller."""
    updates: int = 150
    """Gradient steps of an embedding, or of the whole model."""
    new_updates: int = 400
    """Gradient steps of a new model, which is of the given one's size."""
    embedding_rate: float = 0.03
    """Learning rate of an embedding alone."""
    seeds: tuple[int, ...] = (0, 1, 2)
    iterations: int = 80
    """Actor updates."""
    episodes: int = 10
    """Real episodes of each policy."""

    def settings(self) -> Sequence[Setting]:
        return [
            {"newcomer": newcomer.name, "learned": learned, "episodes": count}
            for newcomer in self.newcomers
            for learned, count in self.ways
            if newcomer.like or learned != NOTHING
        ]

    def measure(self, setting: Setting, seed: int, inputs: Inputs, folder: Path) -> Figures:
        (newcomer,) = (n for n in self.newcomers if n.name == setting["newcomer"])
        _require_unknown(newcomer, inputs)
        if setting["learned"] == NOTHING:
            policy = TrainedPolicy.load(self._known(newcomer.like, seed, inputs, folder.parent))
            return self._judged(newcomer, policy)
        whole = Dataset(self._data(newcomer, seed, inputs, folder.parent))
        data = only(whole, whole.episodes[: int(setting["episodes"])])
        trained = self._world_model(str(setting["learned"]), data, seed, inputs, folder)
        options = ExtractionOptions(evaluate_every=self.iterations)
        extraction = Extraction(
            trained, data, newcomer.name, folder / "extraction", self._config(seed), options
        )
        learned = Inputs(whole.path, folder / "world_model" / WORLD_MODEL)
        policy = extraction.run(fingerprints(learned))
        return self._judged(newcomer, policy) | {
            "imagined": policy.record["training"]["imagined_return"],
            "reward_error": reward_error(trained, newcomer.name),
            "data": data.episodes.column("total_reward").tolist(),
        }

    def _config(self, seed: int) -> ExtractionConfig:
        return ExtractionConfig(iterations=self.iterations, seed=seed, evaluate="model")

    def _judged(self, newcomer: Newcomer, policy: TrainedPolicy) -> dict[str, Any]:
        found = run_episodes(newcomer.robot, deterministic(policy.policy), range(self.episodes))
        return {"return": found.returns.tolist()}

    def _known(self, task: str, seed: int, inputs: Inputs, shared: Path) -> Path:
        """Return the policy of a task that the model knows; the first that needs it extracts it."""
        out = shared / f"known,{task},seed={seed}"
        with FileLock(f"{out}.lock"):
            extract(task, self._config(seed), inputs, out)
        return out / POLICY_FILE

    def _data(self, newcomer: Newcomer, seed: int, inputs: Inputs, shared: Path) -> Path:
        """Return the newcomer's dataset; the first that needs it collects all episodes of it.

        Behaviours take turns, so that the first few episodes are of all of them; all are called
        alike, so that no more than the last few of them are held out.
        """
        out = shared / f"data,{newcomer.name},seed={seed}"
        with FileLock(f"{out}.lock"):
            writer = DatasetWriter(out, [newcomer.info])
            if not writer.episodes:
                writer.extend(list(self._collected(newcomer, seed, inputs, shared)))
        return out

    def _collected(
        self, newcomer: Newcomer, seed: int, inputs: Inputs, shared: Path
    ) -> Sequence[Trajectory]:
        behaviours: list[Behaviour] = [Correlated(), SamplingMpc(0.4), SamplingMpc(0.0)]
        if newcomer.robot.make_dynamics is None:  # then a policy of the body as it was
            policy = self._known(newcomer.like, seed, inputs, shared)
            behaviours[1:] = [StoredPolicy.open(policy, noise) for noise in (0.4, 0.0)]
        share = max(count for _, count in self.ways) // len(behaviours)
        played = [b.collect(newcomer.robot, share, SEED + 1000 * seed) for b in behaviours]
        turns = [episode for turn in zip(*played, strict=True) for episode in turn]
        return [Trajectory(newcomer.name, "mixed", i, **vars(e)) for i, e in enumerate(turns)]

    def _world_model(
        self, learned: str, data: Dataset, seed: int, inputs: Inputs, folder: Path
    ) -> TrainedWorldModel:
        out, sizes = folder / "world_model", _known_model(inputs).model.config
        if learned == NEW:
            return pretrain(data, out, recipe(sizes, self.new_updates, seed))
        config = recipe(sizes, self.updates, seed)
        if learned == EMBEDDING:
            config = replace(config, only_embedding=True, learning_rate=self.embedding_rate)
        return pretrain(data, out, config, inputs.world_model)

    def draw(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        figure, axes = panels(len(self.newcomers))
        for axis, newcomer in zip(axes, self.newcomers, strict=True):
            chosen = selected(results, newcomer=newcomer.name)
            bars(axis, chosen, "learned", "return")
            ways = [setting for setting, _ in by_setting(chosen)]
            names = [f"{way['learned']}, {way['episodes']}" for way in ways]
            axis.set_xticks(range(len(names)), names)
            axis.set_title(newcomer.name)
            axis.set_ylabel("return")
        return {"return": figure}


def _known_model(inputs: Inputs) -> TrainedWorldModel:
    return TrainedWorldModel.load(inputs.world_model, torch.device("cpu"))


def _require_unknown(newcomer: Newcomer, inputs: Inputs) -> None:
    """Raise ``PwmError`` where the given world model was trained on the newcomer."""
    known = [task.name for task in _known_model(inputs).tasks]
    if newcomer.name in known:
        raise PwmError(
            f"{inputs.world_model} knows {', '.join(known)}: {newcomer.name} is no newcomer to it. "
            "Give a world model that was trained without it with --world-model"
        )


EVERY_WAY = (
    (NOTHING, 0),
    *((learned, count) for count in (6, 18, 60, 180) for learned in (EMBEDDING, WHOLE, NEW)),
)

TOPIC = Topic(
    "generalisation",
    "What does a world model know of tasks and bodies outside of its data? The policy of the "
    "nearest task it knows (nothing learned), a new embedding in the model as it is, the whole "
    "model trained on, and a new model of the same size, each of few and of many episodes.",
    (
        Column("return", "return"),
        Column("imagined", "imagined return"),
        Column("reward_error", "reward error (%)"),
        Column("data", "return of the data"),
    ),
    {
        "quick": Generalisation(),
        "full": Generalisation(
            ways=((NOTHING, 0), (WHOLE, 6), (EMBEDDING, 45), (WHOLE, 45), (NEW, 45)),
            updates=1000,
            new_updates=3000,
            iterations=400,
        ),
        "gpu": Generalisation(
            newcomers=(
                Newcomer("pendulum-swingup", like="pendulum-spin"),
                Newcomer("reacher-hard", like="reacher-easy"),
                Newcomer("walker-stand", like="walker-walk"),
                Newcomer("cheetah-run", "cheetah-run", Shift(actuator_gain=0.4)),
                Newcomer("walker-walk", "walker-walk", Shift(mass_scale=1.5)),
            ),
            ways=EVERY_WAY,
            updates=5000,
            new_updates=20_000,
            seeds=(0, 1, 2, 3, 4),
            iterations=10_000,
        ),
    },
    tasks_read=lambda study: [each.like for each in study.newcomers if each.like],
    reads_world_model=True,
)
