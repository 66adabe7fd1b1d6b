# SPDX-License-Identifier: Apache-2.0
"""``world_model.safetensors``: weights with everything later stages need to know of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pwm_core.checkpoint import CheckpointError, load_checkpoint, load_weights, save_checkpoint
from pwm_core.data.dataset import TaskInfo
from pwm_core.model.world_model import WorldModel, WorldModelConfig


@dataclass(frozen=True)
class TrainedWorldModel:
    """A world model, the tasks it knows in the order of its embeddings, and how good it is."""

    model: WorldModel
    tasks: list[TaskInfo]
    quality: dict[str, Any]
    """Held-out errors, see ``pretraining.judgement.ModelQuality``."""
    provenance: dict[str, Any]
    """Dataset fingerprint and training configuration."""

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        header = {
            "kind": "world_model",
            "model": asdict(self.model.config),
            "tasks": [task.to_json() for task in self.tasks],
            "quality": self.quality,
            "provenance": self.provenance,
        }
        save_checkpoint(path, self.model.state_dict(), header)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> TrainedWorldModel:
        """Read the file; ``CheckpointError`` when it is missing, damaged or something else."""
        tensors, header = load_checkpoint(path)
        if header.get("kind") != "world_model":
            raise CheckpointError(f"{path} is a {header.get('kind')!r}, expected a world_model")
        tasks = [TaskInfo.from_json(task) for task in header["tasks"]]
        observation = max(task.observation.size for task in tasks)
        action = max(task.action.size for task in tasks)
        model = WorldModel(WorldModelConfig(**header["model"]), len(tasks), observation, action)
        load_weights(model, tensors, path)
        return cls(model.to(device), tasks, header["quality"], header["provenance"])

    def task_index(self, task: str) -> int:
        """Return the index of ``task``; ``CheckpointError`` lists the tasks the model knows."""
        names = [known.name for known in self.tasks]
        if task not in names:
            raise CheckpointError(f"the world model knows {', '.join(names)}, not {task!r}")
        return names.index(task)
