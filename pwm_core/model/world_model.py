# SPDX-License-Identifier: Apache-2.0
"""The world model: encoder, latent dynamics and reward head, conditioned on the task.

arXiv 2407.02466, section 4; architecture of TD-MPC2 (arXiv 2310.16828) without its policy and Q
heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pwm_core.errors import PwmError
from pwm_core.model.config import SIZES, WorldModelConfig
from pwm_core.model.latents import build_dynamics, build_encoder
from pwm_core.model.layer_gradients import known, learned
from pwm_core.model.networks import mlp, renormalise
from pwm_core.model.reward_codes import REWARD_CODES

__all__ = ["SIZES", "WorldModel", "WorldModelConfig"]


class WorldModel(nn.Module):
    """Latents ``z [batch, latent]``; actions in [-1, 1], padded; tasks are indices ``[batch]``."""

    observation_mean: Tensor
    observation_scale: Tensor
    action_mask: Tensor
    by_hand = False
    """Whether the networks run by ``model.layer_gradients``; pays in training on a CPU."""

    def __init__(
        self, config: WorldModelConfig, tasks: int, observation_size: int, action_size: int
    ) -> None:
        super().__init__()
        self.config = config
        e, z = config.task_embedding, config.latent
        hidden = [config.width, config.width]
        self.task_embedding = nn.Parameter(torch.empty(tasks, e).uniform_(-0.02, 0.02))
        self.two_hot = REWARD_CODES[config.reward_head](config)
        self.encoder = build_encoder(config, observation_size + e)
        self.dynamics = build_dynamics(config, z + action_size + e)
        self.reward_head = mlp([z + action_size + e, *hidden, self.two_hot.outputs])
        nn.init.zeros_(self.reward_head.get_parameter(f"{len(self.reward_head) - 1}.weight"))
        # After all else, so that the draws above are those of a model without these heads.
        self.termination_head = mlp([z + e, *hidden, 1]) if config.termination else None
        self.other_dynamics = nn.ModuleList(
            build_dynamics(config, z + action_size + e) for _ in range(config.dynamics_heads - 1)
        )
        self.register_buffer("observation_mean", torch.zeros(tasks, observation_size))
        self.register_buffer("observation_scale", torch.ones(tasks, observation_size))
        self.register_buffer("action_mask", torch.ones(tasks, action_size))

    def compile_parts(self) -> None:
        """Compile the networks one by one; each is reused at every step of a window."""
        networks = [self.encoder, self.dynamics, self.reward_head, *self.other_dynamics]
        if self.termination_head is not None:
            networks.append(self.termination_head)
        for network in networks:
            network.compile()

    def runs_by_hand(self, network: nn.Sequential) -> bool:
        """Return whether the network, one of the model's, runs by ``model.layer_gradients``."""
        return self.by_hand and known(network)

    def through(self, network: nn.Module, x: Tensor) -> Tensor:
        """Return the output for ``x [..., in]`` of one of the model's networks."""
        if isinstance(network, nn.Sequential) and self.runs_by_hand(network):
            return learned(network, x)
        return network(x)

    def embedding(self, task: Tensor) -> Tensor:
        """Return embeddings ``[batch, e]`` of norm at most 1."""
        return functional.embedding(task, renormalise(self.task_embedding))

    def encode(self, observation: Tensor, task: Tensor) -> Tensor:
        """Return ``z`` of raw observations ``[…, batch, O]``."""
        normal = (observation - self.observation_mean[task]) / self.observation_scale[task]
        embedding = self.embedding(task).expand(*normal.shape[:-1], -1)
        return self.through(self.encoder, torch.cat([normal, embedding], -1))

    def next(self, z: Tensor, action: Tensor, embedding: Tensor) -> Tensor:
        """Return ``z' [batch, latent]`` after ``action [batch, A]``."""
        return self.through(self.dynamics, torch.cat([z, action, embedding], -1))

    def reward_logits(self, z: Tensor, action: Tensor, embedding: Tensor) -> Tensor:
        """Return the reward head's outputs ``[…, bins]`` (one with ``reward_head`` mse)."""
        return self.through(self.reward_head, torch.cat([z, action, embedding], -1))

    def reward(self, z: Tensor, action: Tensor, embedding: Tensor) -> Tensor:
        """Return the expected reward ``[…]`` of taking ``action`` in ``z``."""
        return self.two_hot.decode(self.reward_logits(z, action, embedding))

    def termination_logit(self, z: Tensor, embedding: Tensor) -> Tensor:
        """Return the logit ``[…]`` that ``z`` is terminal; only where the config has the head."""
        assert self.termination_head is not None
        return self.through(self.termination_head, torch.cat([z, embedding], -1)).squeeze(-1)

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
        return self.spread(torch.stack([f(x) for f in (self.dynamics, *self.other_dynamics)]))

    @staticmethod
    def spread(latents: Tensor) -> Tensor:
        """Return the deviation over ``[heads, …, latent]``, averaged over the latent: ``[…]``."""
        # The root has no gradient at zero, where saturated heads agree to the last bit.
        return latents.var(0, correction=0).clamp(min=1e-12).sqrt().mean(-1)
