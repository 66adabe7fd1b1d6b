# SPDX-License-Identifier: Apache-2.0
"""``pwm eval``: policies in the real simulator, beside random, their data and its clones."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pwm_core.data.dataset import Dataset
from pwm_core.errors import PwmError
from pwm_core.evaluation import controllers
from pwm_core.evaluation.cloning import CloningConfig
from pwm_core.evaluation.comparison import (
    ExtractedPolicy,
    Job,
    Planner,
    baselines,
    data_scores,
)
from pwm_core.evaluation.controllers import Planners
from pwm_core.evaluation.published import suite_of
from pwm_core.evaluation.runner import MultiTask, run_jobs
from pwm_core.evaluation.score import Score
from pwm_core.evaluation.summary import Summary, authors, score_matrix, summarise
from pwm_core.extraction.store import POLICY_FILE, TrainedPolicy
from pwm_core.files import write_atomically
from pwm_core.progress import ProgressDisplay
from pwm_core.run_directory import git_revision, machine, plain
from pwm_core.tables import print_table
from pwm_core.tasks.shift import NOMINAL, Shift


@dataclass(frozen=True)
class Evaluate:
    """Evaluate policies in the real simulator; files of one task are its training seeds."""

    policies: tuple[Path, ...]
    """``policy.safetensors`` files, or directories to search for them."""
    data: Path | None = None
    """Dataset directory: adds random, the data's mean and best, and behaviour cloning."""
    out: Path | None = None
    """File to keep all returns in, as JSON."""
    controller: tuple[str, ...] = (controllers.POLICY,)
    """policy, and planners in the world model: mppi, cem, gradient, policy+mppi."""
    world_model: Path | None = None
    """``world_model.safetensors`` that the policies were extracted from, for planners."""
    published: Literal["auto", "mt30", "mt80", "none"] = "auto"
    """The authors' scores to show; auto takes the smallest suite that has all the tasks."""
    episodes: int = 10
    """Episodes per controller."""
    shift: Shift = field(default_factory=Shift)
    """What is different about the robot in the simulator; the data's returns stay what they are."""
    seed: int = 0
    """Episodes have seeds seed, seed + 1, …"""
    workers: int = os.cpu_count() or 1
    """Controllers evaluated at the same time; more make the times per decision longer."""
    ray: str | None = None
    """Ray cluster to spread the work over instead: its address, auto for the running one, local to
    start one here with so many workers (docs/scaling.md)."""
    cloning: CloningConfig = field(default_factory=CloningConfig)
    """How clones are trained."""
    planners: Annotated[Planners, tyro.conf.arg(prefix_name=False)] = field(
        default_factory=Planners
    )
    """Settings of the planners."""
    json: bool = False
    """Print the tables as JSON."""

    def run(self) -> int:
        """Evaluate, keep every return, print the tables."""
        policies = [(path, TrainedPolicy.load(path).task.name) for path in self._files()]
        tasks = list(dict.fromkeys(task for _, task in policies))
        jobs = self._jobs(policies)
        dataset = Dataset(self.data) if self.data else None
        scores = [score for task in tasks for score in self._of_data(dataset, task)]
        scores += self._run(jobs, tasks, dataset)
        scores.sort(key=lambda score: tasks.index(score.task))
        summaries = summarise(scores)
        suite = None
        if self.published != "none":
            suite = suite_of(tasks) if self.published == "auto" else self.published
        if suite:
            summaries += authors(tasks, suite)
            summaries.sort(key=lambda summary: tasks.index(summary.task))
        overall = overall_rows(summaries)
        if self.out:
            kept = record(scores, suite) | {"shift": plain(self.shift)}
            kept |= {"summary": [plain(s) for s in summaries]}
            write_atomically(self.out, json.dumps(kept | {"overall": overall}, indent=1))
        self._print([row(summary) for summary in summaries], overall)
        return 0

    def _print(self, tasks: list[dict[str, Any]], overall: list[dict[str, Any]]) -> None:
        if self.json:
            print(json.dumps({"tasks": tasks, "overall": overall}, indent=1))
            return
        filled = [name for name in tasks[0] if any(row[name] not in ("", None) for row in tasks)]
        title = "Real returns" if self.shift == NOMINAL else f"Real returns under {self.shift}"
        print_table(title, [{name: row[name] for name in filled} for row in tasks], False)
        if overall:
            print_table("Normalised scores over tasks (rliable)", overall, False)

    def _files(self) -> list[Path]:
        """Return the policy files, those of directories in the order of their paths."""
        if not self.policies:
            raise PwmError("no policy was given")
        if self.episodes < 1:
            raise PwmError(f"--episodes is {self.episodes}, expected 1 or more")
        files: list[Path] = []
        for path in self.policies:
            found = sorted(path.rglob(POLICY_FILE)) if path.is_dir() else [path]
            if not found:
                raise PwmError(f"{path} holds no {POLICY_FILE}")
            files += found
        return list(dict.fromkeys(files))

    @property
    def _seeds(self) -> tuple[int, ...]:
        return tuple(range(self.seed, self.seed + self.episodes))

    def _jobs(self, policies: Sequence[tuple[Path, str]]) -> list[Job]:
        """Return the controllers of every task, baselines first."""
        jobs: list[Job] = []
        for task in dict.fromkeys(task for _, task in policies):
            if self.data:
                jobs += baselines(self.data, task, self._seeds, self.cloning, self.shift)
            files = [path for path, name in policies if name == task]
            jobs += [self._controller(n, task, f) for n in self.controller for f in files]
        return jobs

    def _controller(self, name: str, task: str, policy: Path) -> Job:
        if name == controllers.POLICY:
            return ExtractedPolicy(task, policy, self._seeds, self.shift)
        planning = self.planners.named(name)
        if self.world_model is None:
            raise PwmError(f"--controller {name} plans in a world model: give --world-model")
        return Planner(task, name, planning, policy, self.world_model, self._seeds, self.shift)

    @staticmethod
    def _of_data(dataset: Dataset | None, task: str) -> list[Score]:
        return data_scores(dataset, task) if dataset else []

    def _run(self, jobs: list[Job], tasks: list[str], dataset: Dataset | None) -> list[Score]:
        """Run ``jobs``, and the clone over all tasks where the dataset has several."""
        multi_task = None
        if self.data and dataset and len(dataset.tasks) > 1:
            multi_task = MultiTask(self.data, tasks, self._seeds, self.cloning, self.shift)
        total = len(jobs) + (len(tasks) if multi_task else 0)
        scores: list[Score] = []
        with ProgressDisplay("eval", total, "controllers") as progress:
            for score in run_jobs(jobs, multi_task, self.workers, self.ray):
                scores.append(score)
                progress.update(len(scores), {"now": f"{score.task} {score.controller}"})
        return scores


def row(summary: Summary) -> dict[str, Any]:
    """Return a row of the table of tasks."""
    interval, time = summary.interval, summary.decision_ms
    return {
        "task": summary.task,
        "controller": summary.controller,
        "seeds": summary.training_seeds,
        "episodes": summary.episodes,
        "mean return": summary.mean,
        "95 % interval": f"{interval[0]:.0f} – {interval[1]:.0f}" if interval else "",
        "success": summary.success,
        "score": summary.score,
        "ms p50/p99": f"{time[0]:.2f}/{time[1]:.2f}" if time else "",
    }


def overall_rows(summaries: Sequence[Summary]) -> list[dict[str, Any]]:
    """Return a row per controller over the tasks it was scored on; empty for a single task."""
    from pwm_core.evaluation.aggregate import aggregate  # rliable takes seconds to import

    rows = []
    for controller in dict.fromkeys(summary.controller for summary in summaries):
        scores = score_matrix(summaries, controller)
        if scores is None or scores.shape[1] < 2:
            continue
        over = aggregate(scores)
        interval = over.iqm_interval
        rows.append(
            {
                "controller": controller,
                "tasks": scores.shape[1],
                "seeds": scores.shape[0],
                "IQM": over.iqm,
                "95 % interval": f"{interval[0]:.3f} – {interval[1]:.3f}" if interval else "",
                "mean": over.mean,
                "median": over.median,
            }
        )
    return rows


def record(scores: Sequence[Score], suite: str | None = None) -> dict[str, Any]:
    """Return every return and where it comes from, JSON-ready; ``suite``: the authors' scores."""
    return {
        "published": suite,
        "scores": [score.to_json() for score in scores],
        "git": git_revision(),
        "machine": machine(),
    }
