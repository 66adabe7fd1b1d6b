# SPDX-License-Identifier: Apache-2.0
"""The world model: encoder, latent dynamics and reward head, conditioned on the task.

arXiv 2407.02466, section 4; architecture of TD-MPC2 (arXiv 2310.16828) without its policy and Q
heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pwm_core.model.networks import SimNorm, mlp, renormalise
from pwm_core.model.two_hot import TwoHot


@dataclass(frozen=True)
class WorldModelConfig:
    """Sizes of a world model."""

    latent: int = 128
    """Width of the latent state z."""
    encoder_layers: int = 1
    """Hidden layers of the encoder."""
    encoder_width: int = 256
    """Width of the encoder's hidden layers."""
    width: int = 256
    """Width of the two hidden layers of dynamics and of reward."""
    task_embedding: int = 16
    """Numbers per task embedding."""
    simnorm_group: int = 8
    """Group size of SimNorm on latents."""
    bins: int = 101
    """Bins of the reward head."""
    reward_low: float = -10.0
    """Lowest bin (symlog units when ``reward_symlog``)."""
    reward_high: float = 10.0
    """Highest bin (symlog units when ``reward_symlog``)."""
    reward_symlog: bool = True
    """Bins over symlog(reward) as published; else over the reward itself."""


SIZES: dict[str, WorldModelConfig] = {
    "tiny": WorldModelConfig(),
    "1M": WorldModelConfig(128, 1, 256, 384, 96),
    "5M": WorldModelConfig(512, 1, 256, 512, 96),
    "19M": WorldModelConfig(768, 2, 1024, 1024, 96),
    "48M": WorldModelConfig(768, 3, 1792, 1792, 96),
    "317M": WorldModelConfig(1376, 4, 4096, 4096, 96),
}
"""Sizes by TD-MPC2's names (which also counted policy and Q functions); ``tiny`` for a laptop."""


class WorldModel(nn.Module):
    """Latents ``z [batch, latent]``; actions in [-1, 1], padded; tasks are indices ``[batch]``."""

    observation_mean: Tensor
    observation_scale: Tensor
    action_mask: Tensor

    def __init__(
        self, config: WorldModelConfig, tasks: int, observation_size: int, action_size: int
    ) -> None:
        super().__init__()
        self.config = config
        e, z = config.task_embedding, config.latent
        hidden = [config.width, config.width]
        self.task_embedding = nn.Parameter(torch.empty(tasks, e).uniform_(-0.02, 0.02))
        self.encoder = mlp(
            [observation_size + e, *[config.encoder_width] * config.encoder_layers, z],
            SimNorm(config.simnorm_group),
        )
        self.dynamics = mlp([z + action_size + e, *hidden, z], SimNorm(config.simnorm_group))
        self.reward_head = mlp([z + action_size + e, *hidden, config.bins])
        nn.init.zeros_(self.reward_head.get_parameter(f"{len(self.reward_head) - 1}.weight"))
        self.two_hot = TwoHot(
            config.bins, config.reward_low, config.reward_high, config.reward_symlog
        )
        self.register_buffer("observation_mean", torch.zeros(tasks, observation_size))
        self.register_buffer("observation_scale", torch.ones(tasks, observation_size))
        self.register_buffer("action_mask", torch.ones(tasks, action_size))

    def compile_parts(self) -> None:
        """Compile encoder, dynamics and reward head; each is reused at every step of a window."""
        for network in (self.encoder, self.dynamics, self.reward_head):
            network.compile()

    def embedding(self, task: Tensor) -> Tensor:
        """Return embeddings ``[batch, e]`` of norm at most 1."""
        return renormalise(self.task_embedding)[task]

    def encode(self, observation: Tensor, task: Tensor) -> Tensor:
        """Return ``z`` of raw observations ``[…, batch, O]``."""
        normal = (observation - self.observation_mean[task]) / self.observation_scale[task]
        embedding = self.embedding(task).expand(*normal.shape[:-1], -1)
        return self.encoder(torch.cat([normal, embedding], -1))

    def next(self, z: Tensor, action: Tensor, embedding: Tensor) -> Tensor:
        """Return ``z' [batch, latent]`` after ``action [batch, A]``."""
        return self.dynamics(torch.cat([z, action, embedding], -1))

    def reward_logits(self, z: Tensor, action: Tensor, embedding: Tensor) -> Tensor:
        """Return the reward distribution's logits ``[…, bins]``."""
        return self.reward_head(torch.cat([z, action, embedding], -1))

    def reward(self, z: Tensor, action: Tensor, embedding: Tensor) -> Tensor:
        """Return the expected reward ``[…]`` of taking ``action`` in ``z``."""
        return self.two_hot.decode(self.reward_logits(z, action, embedding))
