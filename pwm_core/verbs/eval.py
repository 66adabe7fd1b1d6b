# SPDX-License-Identifier: Apache-2.0
"""``pwm eval``: policies in the real simulator, beside random, their data and its clones."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pwm_core.data.dataset import Dataset
from pwm_core.errors import PwmError
from pwm_core.evaluation.cloning import CloningConfig
from pwm_core.evaluation.comparison import Score, score_baselines, score_policy
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.files import sha256, write_atomically
from pwm_core.progress import ProgressDisplay
from pwm_core.run_directory import git_revision, machine
from pwm_core.tables import print_table

BASELINES = 5


@dataclass(frozen=True)
class Evaluate:
    """Evaluate policies in the real simulator."""

    policies: tuple[Path, ...]
    """``policy.safetensors`` files."""
    data: Path | None = None
    """Dataset directory: adds random, the data's mean and best, and behaviour cloning."""
    out: Path | None = None
    """File to keep all returns in, as JSON."""
    episodes: int = 10
    """Episodes per controller."""
    seed: int = 0
    """Episodes have seeds seed, seed + 1, …"""
    json: bool = False
    """Print the table as JSON."""

    def run(self) -> int:
        """Evaluate and print the table."""
        torch.set_num_threads(1)  # networks this small lose by more
        if not self.policies:
            raise PwmError("no policy was given")
        trained = [(TrainedPolicy.load(path), sha256(path)) for path in self.policies]
        scores = self._scores(trained, Dataset(self.data) if self.data else None)
        if self.out:
            write_atomically(self.out, json.dumps(record(scores), indent=1))
        print_table("Real returns", [row(score) for score in scores], self.json)
        return 0

    def _scores(
        self, trained: list[tuple[TrainedPolicy, str]], dataset: Dataset | None
    ) -> list[Score]:
        """Return the scores of each task's baselines, once, and of its policies."""
        seeds = range(self.seed, self.seed + self.episodes)
        scores: list[Score] = []
        names = list(dict.fromkeys(policy.task.name for policy, _ in trained))
        total = len(trained) + (BASELINES * len(names) if dataset else 0)
        with ProgressDisplay("eval", total, "controllers") as progress:
            for name in names:
                if dataset:
                    for score in score_baselines(dataset, name, seeds, CloningConfig()):
                        scores.append(score)
                        progress.update(len(scores), {"now": name})
                for policy, digest in trained:
                    if policy.task.name == name:
                        scores.append(score_policy(policy, seeds, digest))
                        progress.update(len(scores), {"now": name})
        return scores


def row(score: Score) -> dict[str, Any]:
    """Return a row of the table."""
    interval = score.interval
    return {
        "task": score.task,
        "controller": score.controller,
        "mean return": score.mean,
        "95 % interval": f"{interval[0]:.0f} – {interval[1]:.0f}" if interval else "",
        "episodes": len(score.returns),
    }


def record(scores: list[Score]) -> dict[str, Any]:
    """Return everything about an evaluation, JSON-ready."""
    return {
        "scores": [
            asdict(score) | {"mean": score.mean, "interval": score.interval} for score in scores
        ],
        "git": git_revision(),
        "machine": machine(),
    }
