# SPDX-License-Identifier: Apache-2.0
"""The world model: encoder, latent dynamics and reward head, conditioned on the task.

arXiv 2407.02466, section 4; architecture of TD-MPC2 (arXiv 2310.16828) without its policy and Q
heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pwm_core.errors import PwmError
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
    termination: bool = False
    """Whether a head predicts that an episode ends in the state reached (episodic tasks)."""
    dynamics_heads: int = 1
    """Dynamics networks; the first is the model's, the others only measure disagreement."""


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
        # After all else, so that the draws above are those of a model without these heads.
        self.termination_head = mlp([z + e, *hidden, 1]) if config.termination else None
        self.other_dynamics = nn.ModuleList(
            mlp([z + action_size + e, *hidden, z], SimNorm(config.simnorm_group))
            for _ in range(config.dynamics_heads - 1)
        )
        self.register_buffer("observation_mean", torch.zeros(tasks, observation_size))
        self.register_buffer("observation_scale", torch.ones(tasks, observation_size))
        self.register_buffer("action_mask", torch.ones(tasks, action_size))

    def compile_parts(self) -> None:
        """Compile the networks one by one; each is reused at every step of a window."""
        for network in (self.encoder, self.dynamics, self.reward_head, *self.other_dynamics):
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

    def termination_logit(self, z: Tensor, embedding: Tensor) -> Tensor:
        """Return the logit ``[…]`` that ``z`` is terminal; only where the config has the head."""
        assert self.termination_head is not None
        return self.termination_head(torch.cat([z, embedding], -1)).squeeze(-1)

    def continues(self, z_next: Tensor, embedding: Tensor) -> Tensor:
        """Return the probability ``[…]`` that the episode goes on after reaching ``z_next``.

        One where the model has no termination head.
        """
        if self.termination_head is None:
            return z_next.new_ones(z_next.shape[:-1])
        return torch.sigmoid(-self.termination_logit(z_next, embedding))

    def disagreement(self, z: Tensor, action: Tensor, embedding: Tensor) -> Tensor:
        """Return how far the dynamics heads are apart on ``z'``, ``[…]``.

        The standard deviation over the heads, averaged over the latent. ``PwmError`` when the model
        has one head only.
        """
        if not self.other_dynamics:
            raise PwmError(
                "the world model has one dynamics head, disagreement needs two or more: "
                "pre-train with --dynamics-heads 3"
            )
        x = torch.cat([z, action, embedding], -1)
        latents = torch.stack([head(x) for head in (self.dynamics, *self.other_dynamics)])
        # The root has no gradient at zero, where saturated heads agree to the last bit.
        return latents.var(0, correction=0).clamp(min=1e-12).sqrt().mean(-1)
