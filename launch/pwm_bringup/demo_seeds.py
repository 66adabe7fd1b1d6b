# SPDX-License-Identifier: Apache-2.0
"""The demo's learning result over several training seeds: a single run proves little."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pwm_bringup.stages import Stage
from pwm_core.files import write_atomically
from pwm_core.tables import print_table
from pwm_core.verbs.eval import Evaluate
from pwm_core.verbs.extract import Extract
from pwm_core.verbs.pretrain import Pretrain


@dataclass(frozen=True)
class SeedStudy:
    """World model and policies trained again on the same data, with other seeds."""

    out: Path
    first: int
    """Seed of the main run, which counts as one of the seeds."""
    count: int
    pretrain: Callable[[Path, int], Pretrain]
    extract: Callable[[Path, int], Extract]
    task: str
    """Task that has to beat its data and its clone."""

    def stage(self) -> Stage:
        """Return the study as a stage."""
        purpose = f"world model and policies again with {self.count - 1} more training seeds"
        return Stage(f"seeds-{self.count}", purpose, (self.out / "seeds.json",), self.run)

    def run(self) -> int:
        """Train and evaluate each seed; 1 when the mean does not beat data and clone."""
        returns = {self.first: self._means(self.out / "evaluation.json")}
        for seed in range(self.first + 1, self.first + self.count):
            directory = self.out / "seeds" / str(seed)
            status = self._train(directory, seed)
            if status:
                return status
            returns[seed] = self._means(directory / "evaluation.json")
        rows = [self._row(task, returns) for task in returns[self.first]]
        write_atomically(self.out / "seeds.json", json.dumps({"rows": rows}, indent=1))
        print_table("Extracted policies over training seeds", rows, as_json=False)
        mine = next(row for row in rows if row["task"] == self.task)
        return 0 if mine["mean"] > max(mine["best in data"], mine["best clone"]) else 1

    def _train(self, directory: Path, seed: int) -> int:
        extract = self.extract(directory, seed)
        policies = tuple(extract.out / task / "policy.safetensors" for task in extract.tasks)
        evaluate = Evaluate(policies, out=directory / "evaluation.json")
        steps = self.pretrain(directory, seed).run, extract.run, evaluate.run
        for step in steps:
            status = step()
            if status:
                return status
        return 0

    @staticmethod
    def _means(path: Path) -> dict[str, float]:
        scores = json.loads(path.read_text())["scores"]
        return {s["task"]: s["mean"] for s in scores if s["controller"] == "extracted policy"}

    def _row(self, task: str, returns: dict[int, dict[str, float]]) -> dict[str, Any]:
        values = np.array([means[task] for means in returns.values()])
        scores = json.loads((self.out / "evaluation.json").read_text())["scores"]
        baselines = {s["controller"]: s["mean"] for s in scores if s["task"] == task}
        return {
            "task": task,
            "seeds": ", ".join(map(str, returns)),
            "returns": ", ".join(f"{value:.0f}" for value in values),
            "mean": float(values.mean()),
            "standard deviation": float(values.std(ddof=1)),
            "best in data": baselines["data, best episode"],
            "best clone": max(v for name, v in baselines.items() if name.startswith("cloning")),
        }
