# SPDX-License-Identifier: Apache-2.0
"""What a run's directory holds; missing, half-written or damaged parts are no error."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pwm_core.checkpoint import CheckpointError, load_checkpoint
from pwm_core.data.dataset import Dataset, DatasetError
from pwm_core.data.summary import behaviour_rows
from pwm_core.evaluation.score import EXTRACTED, Score
from pwm_core.evaluation.summary import Summary, authors, summarise
from pwm_core.extraction.store import POLICY_FILE
from pwm_core.files import sha256
from pwm_core.run_directory import read_metrics


@dataclass(frozen=True)
class Stage:
    """One training run: the directory that ``pwm pretrain`` or ``pwm extract`` wrote."""

    path: Path
    config: dict[str, Any]
    """``config.json``: stage, config, inputs, git, machine; empty when absent."""
    metrics: list[dict[str, Any]]
    result: dict[str, Any] | None
    """Header of the weights file; ``None`` until training has ended."""

    def curve(self, name: str) -> list[tuple[float, Any]]:
        """Return ``(step, value)`` of every line that has a value of ``name``."""
        return [(line["step"], line[name]) for line in self.metrics if line.get(name) is not None]


@dataclass(frozen=True)
class RunFiles:
    """A run's directory; every part is ``None`` or empty when it is not there."""

    path: Path

    @property
    def data_path(self) -> Path:
        return self.path / "data"

    @property
    def lockstep_path(self) -> Path:
        return self.path / "ros" / "lockstep.json"

    @property
    def live_path(self) -> Path:
        return self.path / "ros" / "live.json"

    @cached_property
    def dataset(self) -> Dataset | None:
        try:
            return Dataset(self.data_path)
        except DatasetError:
            return None

    @cached_property
    def behaviours(self) -> list[dict[str, Any]]:
        """Rows of ``pwm data info``."""
        return behaviour_rows(self.dataset) if self.dataset else []

    @cached_property
    def world_model(self) -> Stage | None:
        return _stage(self.path / "world_model", "world_model.safetensors")

    @cached_property
    def trainings(self) -> dict[str, list[Stage]]:
        """Extraction runs by task, a run per training seed, in the order of their paths.

        They lie in ``policies/TASK`` or, for several seeds, in ``policies/…/TASK``.
        """
        found: dict[str, list[Stage]] = {}
        for folder in sorted((self.path / "policies").glob("**/")):
            if stage := _stage(folder, POLICY_FILE):
                found.setdefault(folder.name, []).append(stage)
        return found

    @cached_property
    def policies(self) -> dict[str, Stage]:
        """The extraction run to show of each task: the middle one by mean return."""
        return {task: self._middle(stages) for task, stages in self.trainings.items()}

    def _middle(self, stages: list[Stage]) -> Stage:
        means = {score.policy: score.mean for score in self.scores if score.policy}
        judged = [s for s in stages if s.result and sha256(s.path / POLICY_FILE) in means]
        if not judged:
            return stages[0]
        judged.sort(key=lambda stage: means[sha256(stage.path / POLICY_FILE)])
        return judged[(len(judged) - 1) // 2]

    @cached_property
    def evaluation(self) -> dict[str, Any] | None:
        return _json(self.path / "evaluation.json")

    @cached_property
    def scores(self) -> list[Score]:
        """What ``pwm eval`` measured; empty where it cannot be read."""
        try:
            return [Score.from_json(stored) for stored in (self.evaluation or {})["scores"]]
        except (KeyError, TypeError):
            return []

    @cached_property
    def summaries(self) -> list[Summary]:
        """The scores per task and controller, the authors' among them."""
        tasks = dict.fromkeys(score.task for score in self.scores)
        suite = (self.evaluation or {}).get("published")
        return summarise(self.scores) + (authors(tasks, suite) if suite else [])

    def summary(self, task: str, controller: str) -> Summary | None:
        """Return what ``controller`` earned on ``task`` over its training seeds."""
        found = [s for s in self.summaries if (s.task, s.controller) == (task, controller)]
        return found[0] if found else None

    @cached_property
    def lockstep(self) -> dict[str, Any] | None:
        return _json(self.lockstep_path)

    @cached_property
    def live(self) -> dict[str, Any] | None:
        return _json(self.live_path)

    @cached_property
    def stage_seconds(self) -> list[tuple[str, float]]:
        stages = (_json(self.path / "stages.json") or {}).get("stages", [])
        return [(s["name"], float(s["seconds"])) for s in stages if s["seconds"]]

    @cached_property
    def seeds(self) -> list[dict[str, Any]]:
        """Rows of the study over training seeds, one per task."""
        return (_json(self.path / "seeds.json") or {}).get("rows", [])

    @cached_property
    def bundles(self) -> list[Path]:
        return sorted((self.path / "bundles").glob("*.onnx"))

    @property
    def tasks(self) -> list[str]:
        """Tasks in the order of the data, then of the policies."""
        known = list(self.dataset.tasks) if self.dataset else []
        return [*known, *(task for task in self.policies if task not in known)]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Policies and tasks in the order of their colours, the live session's first."""
        frames = (self.live or {}).get("frames", {})
        return tuple(dict.fromkeys([*frames.get("policy", ()), *self.tasks]))

    def colour(self, name: str) -> int:
        """Return the series colour of a policy or task."""
        return self.names.index(name)

    @property
    def stages(self) -> list[Stage]:
        extractions = [stage for stages in self.trainings.values() for stage in stages]
        return [*([self.world_model] if self.world_model else []), *extractions]

    def policy_score(self, task: str) -> Score | None:
        """Return the score of the policy of ``task`` that is shown, if it is the one evaluated."""
        chosen = [s for s in self.scores if (s.task, s.controller) == (task, EXTRACTED)]
        if file := self.policy_file(task):
            digest = sha256(file)
            chosen = [score for score in chosen if score.policy == digest]
        return chosen[0] if chosen else None

    def policy_file(self, task: str) -> Path | None:
        """Return the policy of ``task`` that is shown, when its extraction has ended."""
        stage = self.policies.get(task)
        return stage.path / POLICY_FILE if stage and stage.result else None

    def damaged(self) -> list[str]:
        """Return a sentence for each part that is there but cannot be read."""
        names = "evaluation.json", "stages.json", "seeds.json"
        records = [self.path / name for name in names]
        records += [self.lockstep_path, self.live_path, *self.path.glob("world_model/config.json")]
        records += self.path.glob("policies/**/config.json")
        found = [f"{p} is not whole" for p in records if p.is_file() and _json(p) is None]
        weight_files = [*self.path.glob("world_model/*.safetensors")]
        weight_files += self.path.glob(f"policies/**/{POLICY_FILE}")
        for weights in weight_files:
            try:
                load_checkpoint(weights)
            except CheckpointError as error:
                found.append(str(error))
        if self.data_path.is_dir():
            try:
                Dataset(self.data_path)
            except DatasetError as error:
                found.append(str(error))
        return found

    @property
    def times(self) -> tuple[float, float] | None:
        """Return when the oldest and the newest of the files read were written (Unix time)."""
        names = (
            "data/dataset.json",
            "world_model/*.json*",
            "policies/**/*.json*",
            "evaluation.json",
            "ros/*.json",
            "bundles/*.onnx",
            "stages.json",
        )
        written = [file.stat().st_mtime for name in names for file in self.path.glob(name)]
        return (min(written), max(written)) if written else None


def _json(path: Path) -> dict[str, Any] | None:
    """Return the object in ``path``; ``None`` when it is absent or not whole."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _stage(path: Path, weights: str) -> Stage | None:
    config = _json(path / "config.json") or {}
    metrics = read_metrics(path) if (path / "metrics.jsonl").is_file() else []
    try:
        result = load_checkpoint(path / weights)[1]
    except CheckpointError:
        result = None
    return Stage(path, config, metrics, result) if config or metrics or result else None
