# SPDX-License-Identifier: Apache-2.0
"""The critics an extraction leaves in its run directory, as a planner's terminal value."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from pwm_core.checkpoint import CheckpointError, load_checkpoint, load_weights, part
from pwm_core.extraction.actor_critic import Critics


class Value:
    """Mean of an ensemble of critics, in units of reward."""

    def __init__(self, critics: Critics, scale: float) -> None:
        """``scale`` is the reward's unit in which the critics were trained."""
        self._critics, self._scale = critics.requires_grad_(False).eval(), scale

    def __call__(self, z: Tensor) -> Tensor:
        """Return ``[batch]`` of latents ``[batch, latent]``."""
        return self._critics(z).mean(0) * self._scale


def load_value(run: Path, latent: int) -> Value | None:
    """Return the value of the extraction in ``run``; ``None`` where there is none to plan with.

    That is where its checkpoint was not kept, or its critics judge compressed rewards.
    ``CheckpointError`` for a checkpoint that does not say the critics' unit, or is damaged.
    """
    checkpoint, config = run / "checkpoint.safetensors", run / "config.json"
    if not (checkpoint.is_file() and config.is_file()):
        return None
    tensors, header = load_checkpoint(checkpoint)
    if "value_scale" not in header:
        raise CheckpointError(
            f"{checkpoint} does not hold the critics' unit (value_scale): extract again, "
            "or move it away to plan without a terminal value"
        )
    stored = json.loads(config.read_text())["config"]
    if stored.get("imagined_reward") == "symlog":
        return None
    networks = stored.get("networks", "norm-mish")
    critics = Critics(latent, stored["critic_hidden"], stored["critics"], networks)
    load_weights(critics, part("critics", tensors), checkpoint)
    return Value(critics.to(torch.get_default_dtype()), header["value_scale"])
