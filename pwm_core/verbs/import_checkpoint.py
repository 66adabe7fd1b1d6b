# SPDX-License-Identifier: Apache-2.0
"""``pwm import-checkpoint``: a published world model of TD-MPC2 or PWM, instead of training one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pwm_core.data.dataset import Dataset, DatasetError, TaskInfo
from pwm_core.errors import PwmError
from pwm_core.files import sha256
from pwm_core.model.config import LatentLayerName, WorldModelConfig
from pwm_core.model.published import (
    PublishedWeights,
    build_published,
    fitting_sizes,
    found_config,
    published_sizes,
    read_published,
    require_fit,
)
from pwm_core.model.store import TrainedWorldModel
from pwm_core.model.world_model import WorldModel
from pwm_core.pretraining.judgement import judge_tasks, quality_record, validation_windows
from pwm_core.pretraining.preparation import pad
from pwm_core.pretraining.quality import quality_row
from pwm_core.run_directory import plain
from pwm_core.tables import print_table
from pwm_core.tasks import get_task
from pwm_core.tasks.published_tasks import PUBLISHED_TASKS


@dataclass(frozen=True)
class ImportCheckpoint:
    """Read a world model of TD-MPC2's or PWM's public code into ``world_model.safetensors``."""

    file: Annotated[Path, tyro.conf.Positional]
    """The ``.pt`` file; it is read without running code that it may hold."""
    size: Literal["1M", "5M", "19M", "48M", "317M"] | None = None
    """Published size to insist on; when not given, the file's shapes tell."""
    suite: Literal["mt30", "mt80"] | None = None
    """Published list of tasks, in the order of the file's task embeddings."""
    tasks: tuple[str, ...] = ()
    """The file's tasks in their order, where it is of no suite."""
    latent_layer: LatentLayerName = "simnorm"
    """Last layer of encoder and dynamics, which the file does not tell."""
    out: Path = Path("runs/imported/world_model.safetensors")
    """File to write; one that exists is not replaced."""
    data: Path | None = None
    """Dataset to judge the model on; without it nothing is known of its errors."""
    horizon: int = 16
    """Decisions per window when the model is judged."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        """Import, then print what the file held."""
        if (self.suite is None) == (not self.tasks):
            raise PwmError("say which tasks the file knows: --suite mt80, or --tasks NAME …")
        if self.out.exists():
            raise PwmError(
                f"{self.out} exists, and a world model is not replaced: policies may have been "
                "extracted from it. Give another --out, or delete it"
            )
        names = self.tasks if self.suite is None else PUBLISHED_TASKS[self.suite]
        tasks = [TaskInfo.of(get_task(name)) for name in names]
        weights = read_published(self.file)
        config = self._fitting(weights, tasks)
        model = build_published(weights, config, tasks).eval()
        quality = (
            {} if self.data is None else judged(model, tasks, Dataset(self.data), self.horizon)
        )
        source = {"file": self.file.name, "sha256": sha256(self.file)}
        TrainedWorldModel(model, tasks, quality, {"imported": source}).save(self.out)
        self._report(model, tasks, quality)
        return 0

    def _fitting(self, weights: PublishedWeights, tasks: list[TaskInfo]) -> WorldModelConfig:
        """Return the file's configuration; ``CheckpointError`` where it is not what was asked."""
        config = found_config(weights, self.latent_layer)
        asked = config
        if self.size is not None:
            sizes = published_sizes(self.size, self.suite)
            if self.suite is None:
                sizes["task_embedding"] = config.task_embedding
            asked = replace(config, **sizes)
        try:
            require_fit(weights, asked, tasks)
        except PwmError as error:
            fitting = fitting_sizes(config, weights.tasks)
            advice = f"it fits {' or '.join(fitting)}" if fitting else "it fits no published size"
            raise type(error)(f"{error}; {advice}") from error
        return config

    def _report(
        self, model: WorldModel, tasks: Sequence[TaskInfo], quality: dict[str, Any]
    ) -> None:
        row: dict[str, Any] = {
            "world model": str(self.out),
            "parameters": sum(p.numel() for p in model.parameters()),
            "tasks": len(tasks),
        }
        row |= quality_row(quality) if quality else {"reward error": "unknown"}
        print_table("Imported", [row], self.json)


def judged(
    model: WorldModel, tasks: Sequence[TaskInfo], dataset: Dataset, horizon: int
) -> dict[str, Any]:
    """Return the model's errors on all episodes of ``dataset``, which did not train it."""
    names = [task.name for task in tasks]
    unknown = [task for task in dataset.episodes.tasks if task not in names]
    if unknown:
        raise DatasetError(f"{dataset.path} has tasks that the file does not know: {unknown}")
    windows = validation_windows(dataset, dataset.episodes, names, horizon, seed=0)
    widths = model.observation_mean.shape[1], model.action_mask.shape[1]
    return plain(quality_record(*judge_tasks(model, pad(windows, *widths), names)))
