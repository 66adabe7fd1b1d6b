# SPDX-License-Identifier: Apache-2.0
"""``policy.safetensors`` as a source of data, see ``pwm_core.data.behaviours.policy``."""

from __future__ import annotations

from pathlib import Path

import torch

from pwm_core.data.behaviours.policy import LoadedPolicy
from pwm_core.evaluation.episodes import deterministic
from pwm_core.extraction.store import TrainedPolicy


def load(path: Path) -> LoadedPolicy:
    """Read ``path``; ``CheckpointError`` when it is missing, damaged or something else."""
    torch.set_num_threads(1)  # data must not depend on the number of cores
    trained = TrainedPolicy.load(path)
    task = trained.task
    return LoadedPolicy(task.name, task.observation, task.action, deterministic(trained.policy))
