# SPDX-License-Identifier: Apache-2.0
"""How much memory a task takes, and how many fit side by side."""

from __future__ import annotations

import os

import psutil
import torch

from pwm_core.device import resolve_device
from pwm_core.extraction.config import ExtractionConfig
from pwm_core.model.config import WorldModelConfig

SHARE = 0.5
"""Share of the free memory that tasks may fill."""
FLOAT = 4
"""Bytes of a number."""


def task_bytes(model: WorldModelConfig, config: ExtractionConfig) -> int:
    """Return about what a task's rollout keeps for the way back, the largest of its needs.

    A hidden layer keeps its product, its norm and three parts of Mish, the actor's also gradients.
    """
    dynamics_and_reward = 2 * 2 * 5 * model.width + model.bins
    actor = 7 * sum(config.actor_hidden)
    row = dynamics_and_reward + actor + 6 * model.latent
    return FLOAT * config.horizon * config.batch * row


def free_bytes(device: torch.device) -> int:
    """Return the free memory of ``device``."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def room_of_a_worker(device: str) -> int:
    """Return the share of this machine's free memory of one of as many workers as it has cores.

    A GPU is one worker's.
    """
    found = resolve_device(device)
    return free_bytes(found) // (1 if found.type == "cuda" else os.cpu_count() or 1)


def tasks_that_fit(free: int, model: WorldModelConfig, config: ExtractionConfig) -> int:
    """Return how many tasks fit side by side into ``free`` bytes, one at least."""
    return max(1, int(SHARE * free / task_bytes(model, config)))
