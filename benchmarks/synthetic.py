# SPDX-License-Identifier: Apache-2.0
"""Data and untrained networks of the demo's sizes: speed does not depend on what they learned."""

from __future__ import annotations

from pathlib import Path

import torch

from pwm_core.data.behaviours import Uniform
from pwm_core.data.collect import collect, plan
from pwm_core.data.dataset import Dataset
from pwm_core.model.config import SIZES
from pwm_core.model.store import TrainedWorldModel
from pwm_core.pretraining.preparation import build_model

TASKS = ("cartpole-swingup", "cartpole-balance")


def synthetic_dataset(directory: Path, episodes: int) -> Dataset:
    """Collect ``episodes`` per task of uniform actions into ``directory``."""
    collect(plan(TASKS, [(Uniform(), episodes)], seed=0), directory, workers=1)
    return Dataset(directory)


def untrained_world_model(dataset: Dataset, size: str = "tiny") -> TrainedWorldModel:
    """Return a world model, of the demo's size by default, whose rewards are random, not zero."""
    torch.manual_seed(0)
    model = build_model(dataset, SIZES[size])
    last = len(model.reward_head) - 1
    torch.nn.init.normal_(model.reward_head.get_parameter(f"{last}.weight"), std=0.5)
    return TrainedWorldModel(model, list(dataset.tasks.values()), {}, {})
