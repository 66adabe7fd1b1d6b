# SPDX-License-Identifier: Apache-2.0
"""One policy for all tasks, or one each; from a world model of all tasks, or from one each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock
from matplotlib.figure import Figure

from pwm_core.checkpoint import load_checkpoint, load_weights, save_checkpoint
from pwm_core.data.dataset import Dataset
from pwm_core.errors import PwmError
from pwm_core.extraction.actor_critic import Actor
from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.runner import Extraction
from pwm_core.model.config import SIZES, WorldModelConfig
from pwm_core.studies.drawing import bars, panels, selected
from pwm_core.studies.extracting import begin, fingerprints, judge, reward_error
from pwm_core.studies.one_for_all import AllTasks, ToldActor, learn_all, new_learner
from pwm_core.studies.study import Column, Figures, Inputs, Result, Setting, Topic
from pwm_core.studies.world_data import WORLD_MODEL, only, pretrain, recipe

ONE_FOR_ALL = "one policy, one model"
PER_TASK = "policy per task, one model"
APART = "policy and model per task"


@dataclass(frozen=True)
class MultiTaskVsPerTask:
    """World models and policies for all tasks and for each, with the same data and rollouts."""

    tasks: tuple[str, ...] = ("cartpole-swingup", "cartpole-balance")
    """Tasks of the dataset; the model of all tasks knows these alone."""
    model: WorldModelConfig = field(default_factory=lambda: SIZES["tiny"])
    """Sizes of every world model."""
    updates: int = 1000
    """Gradient steps of a task's own world model; the model of all tasks has so many for each."""
    seeds: tuple[int, ...] = (0, 1, 2)
    iterations: int = 100
    """Actor updates of every policy. One for all sees a batch of each task in every update, so
    that there are as many rollouts and fewer updates."""
    batch: int = 64
    """Imagined rollouts per task and update."""
    episodes: int = 10
    """Real episodes of each policy and task."""

    def settings(self) -> Sequence[Setting]:
        ways = (ONE_FOR_ALL, PER_TASK, APART)
        return [{"task": task, "trained": way} for task in self.tasks for way in ways]

    def measure(self, setting: Setting, seed: int, inputs: Inputs, folder: Path) -> Figures:
        task, way = str(setting["task"]), str(setting["trained"])
        tasks = (task,) if way == APART else self.tasks
        learned = Inputs(inputs.data, self._world_model(tasks, inputs, seed, folder.parent))
        if way == ONE_FOR_ALL:
            return self._one_for_all(task, seed, learned, folder)
        extraction = self._extraction(task, seed, learned, folder / "extraction")
        return self._judged(extraction, extraction.run(fingerprints(learned)).policy)

    def _world_model(self, tasks: Sequence[str], inputs: Inputs, seed: int, shared: Path) -> Path:
        """Return the world model of ``tasks``; the first cell that needs it trains it."""
        out = shared / f"model,{'+'.join(tasks)},seed={seed}"
        with FileLock(f"{out}.lock"):
            whole = Dataset(inputs.data)
            data = only(whole, whole.episodes[whole.episodes.task_index(tasks) >= 0])
            pretrain(data, out, recipe(self.model, self.updates * len(tasks), seed))
        return out / WORLD_MODEL

    def _extraction(self, task: str, seed: int, learned: Inputs, out: Path) -> Extraction:
        config = ExtractionConfig(
            iterations=self.iterations, batch=self.batch, seed=seed, evaluate="model"
        )
        return begin(task, config, learned, out)

    def _judged(self, extraction: Extraction, policy: Any) -> dict[str, Any]:
        task = extraction.info.name
        error = reward_error(extraction.trained, task)
        return judge(task, policy, self.episodes) | {"reward_error": error}

    def _one_for_all(self, task: str, seed: int, learned: Inputs, folder: Path) -> dict[str, Any]:
        """Judge the shared policy of ``seed``; the first cell that needs it extracts it."""
        extractions = [self._extraction(each, seed, learned, folder) for each in self.tasks]
        file, read = folder.parent / f"policy,seed={seed}.safetensors", fingerprints(learned)
        with FileLock(f"{file}.lock"):
            if not file.is_file():
                save_checkpoint(file, learn_all(extractions).actor.state_dict(), read)
        actor = self._stored_actor(file, extractions, read)
        mine = extractions[self.tasks.index(task)]
        return self._judged(mine, ToldActor(mine, actor))

    def _stored_actor(
        self, file: Path, extractions: Sequence[Extraction], expected: dict[str, str]
    ) -> Actor:
        """Return the shared policy; ``PwmError`` where it is not of the ``expected`` inputs."""
        tensors, read = load_checkpoint(file)
        if read != expected:
            raise PwmError(
                f"{file} was learned from {read}, expected {expected}: delete it, and it "
                "is learned anew"
            )
        first = extractions[0]
        actor = new_learner(AllTasks(extractions), first.config, first.device).actor
        load_weights(actor, tensors, file)
        return actor

    def draw(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        figure, axes = panels(len(self.tasks))
        for axis, task in zip(axes, self.tasks, strict=True):
            bars(axis, selected(results, task=task), "trained", "return")
            axis.set_title(task)
            axis.set_ylabel("return")
        return {"return": figure}


FIVE = (
    "cartpole-swingup",
    "cartpole-balance",
    "pendulum-spin",
    "cheetah-run",
    "mw-drawer-close",
)
"""Tasks of four bodies."""
TEN = (
    "cartpole-swingup",
    "cartpole-balance",
    "pendulum-spin",
    "reacher-easy",
    "cheetah-run",
    "walker-walk",
    "mw-reach",
    "mw-drawer-close",
    "mw-window-close",
    "mw-button-press",
)
"""The tasks of ``docs/results.md``, which says how their data was collected."""

TOPIC = Topic(
    "multi-task-vs-per-task",
    "Is a policy for each task, extracted from a world model of all tasks, better than one policy "
    "that is told the task (its embedding is an input of actor and critics), and does it lose "
    "anything to a world model of its own? All have the same data, sizes, rollouts per task, and "
    "gradient steps of the model per task.",
    (Column("return", "return"), Column("reward_error", "reward error (%)")),
    {
        "quick": MultiTaskVsPerTask(),
        "full": MultiTaskVsPerTask(tasks=FIVE, updates=1500, iterations=300),
        "gpu": MultiTaskVsPerTask(
            tasks=TEN, model=SIZES["5M"], updates=10_000, seeds=(0, 1, 2, 3, 4), iterations=10_000
        ),
    },
    tasks_read=lambda study: study.tasks,
)
