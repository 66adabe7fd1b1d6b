# SPDX-License-Identifier: Apache-2.0
"""``pwm export``: policies as self-contained ONNX bundles, parity checked against torch."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pwm_core.data.dataset import Dataset
from pwm_core.extraction.diagnosis import exploited
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.files import made_aside, sha256
from pwm_core.finetuning.gate import rejected
from pwm_core.limits import NOT_NEGATIVE
from pwm_core.tables import print_table
from pwm_export.bundle import Bundle, ObservationRange
from pwm_export.calibration import LATENESS
from pwm_export.monitor_writer import Monitoring
from pwm_export.precision import Precision
from pwm_export.writer import ExportError, export_policy

PARITY_OBSERVATIONS = 1000
REFUSED = 3


@dataclass(frozen=True)
class Export:
    """Export policies as ONNX bundles that carry all a robot needs to know of them."""

    policies: tuple[Path, ...]
    """``policy.safetensors`` files; bundles are named after their tasks."""
    data: Path = Path("runs/data")
    """Dataset whose observations check the exported graph against torch, and whose range of them
    the robot knows as normal."""
    evaluation: Path | None = None
    """Result of ``pwm eval --out``, to be kept in the bundle."""
    world_model: Path | None = None
    """The ``world_model.safetensors`` that the policies come from: the bundles get a monitor that
    notices when the robot does not move as the model predicts."""
    lateness: float = LATENESS
    """Control steps by which commands usually act late on the robot at most: the monitor gets to
    know them so."""
    precision: Precision = "float32"
    """Of the weights in the bundle: float16 halves the file, int8 makes it a quarter; their action
    error is measured and kept in the bundle, and refused where it is too large."""
    out: Path = Path("runs/bundles")
    """Directory of the bundles."""
    force: bool = False
    """Export even a policy that exploits its world model."""
    json: bool = False
    """Print the table as JSON."""

    def run(self) -> int:
        """Export and print a table of bundles."""
        if not self.policies:
            raise ExportError("no policy was given")
        dataset = Dataset(self.data)
        NOT_NEGATIVE.require(self, "lateness")
        monitoring = Monitoring.load(self.world_model, self.lateness) if self.world_model else None
        rows = []
        for path in self.policies:
            trained = TrainedPolicy.load(path)
            problem = exploited(trained.record["training"]) or rejected(trained.record)
            if problem and not self.force:
                print(f"refused: {trained.task.name}: {problem} (--force exports)", file=sys.stderr)
                return REFUSED
            evaluation = self._evaluation(trained, path)
            rows.append(self._export(trained, dataset, evaluation, monitoring))
        if not self.json:  # in full they leave no room for the rest
            rows = [row | {"bundle": Path(row["bundle"]).name} for row in rows]
        print_table(f"Bundles in {self.out}", rows, self.json)
        return 0

    def _export(
        self,
        trained: TrainedPolicy,
        dataset: Dataset,
        evaluation: dict[str, Any],
        monitoring: Monitoring | None,
    ) -> dict[str, Any]:
        name = trained.task.name
        observations = sample_observations(dataset, name, PARITY_OBSERVATIONS)
        with made_aside(self.out / f"{name}.onnx") as made, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's exporter warns of its own internals
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            bundle = export_policy(
                trained,
                name,
                made,
                observations,
                evaluation,
                observed_range(dataset, name),
                self.precision,
            )
            if monitoring is not None:
                monitoring.add(bundle, trained, dataset)
        bundle = Bundle.load(self.out / made.name)
        parity = bundle.metadata["parity"]
        return {
            "bundle": str(bundle.path),
            "KiB": bundle.path.stat().st_size / 1024,
            "rate (Hz)": 1 / bundle.control_step,
            "max action error": f"{parity['max_abs_error']:.1e}",
            "mean, of range": f"{parity['mean_share_of_range']:.1e}",
            "precision": parity["precision"],
            "observations": parity["observations"],
            "monitor": bundle.monitor.calibration if bundle.monitor else "none",
            "sha256": bundle.sha256[:12],
        }

    def _evaluation(self, trained: TrainedPolicy, path: Path) -> dict[str, Any]:
        """Return the figures of this very policy file, empty when another one was judged."""
        if self.evaluation is None:
            return {}
        digest, scores = sha256(path), read_scores(self.evaluation)
        score = next((s for s in scores if s.get("policy") == digest), None)
        if score is None:
            print(
                f"note: {self.evaluation} judged another {trained.task.name} policy; left out",
                file=sys.stderr,
            )
            return {}
        return {
            "mean_return": score["mean"],
            "interval": score["interval"],
            "episodes": len(score["returns"]),
        }


def read_scores(path: Path) -> list[dict[str, Any]]:
    """Return the scores that ``pwm eval --out`` wrote; ``ExportError`` when ``path`` has none."""
    try:
        return json.loads(path.read_bytes())["scores"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{path} is no result of pwm eval --out: {error}") from error


def sample_observations(dataset: Dataset, task: str, count: int) -> np.ndarray:
    """Return up to ``count`` observations ``[N, O]`` of ``task``, spread over its episodes."""
    rows = np.concatenate([np.arange(e.start, e.rows.stop) for e in dataset.of_task(task)])
    chosen = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
    return np.array(dataset.observation[chosen][:, : dataset.tasks[task].observation.size])


def observed_range(dataset: Dataset, task: str) -> ObservationRange:
    """Return the range of every observation entry in all data of ``task``."""
    size = dataset.tasks[task].observation.size
    episodes = dataset.of_task(task)
    return ObservationRange.of(dataset.observation[e.start : e.rows.stop, :size] for e in episodes)
