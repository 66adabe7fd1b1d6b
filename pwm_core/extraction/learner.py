# SPDX-License-Identifier: Apache-2.0
"""One task's actor, critics and optimisers, and what is done to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy, deepcopy
from pathlib import Path

import torch
from torch import Tensor

from pwm_core.checkpoint import load_optimizer, load_weights, optimizer_tensors, part, prefixed
from pwm_core.cuda_graph import keep_rates_on, set_rate
from pwm_core.extraction.actor_critic import Actor, Critics
from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.critic_gradient import critic_gradient
from pwm_core.extraction.flat_parameters import FlatParameters
from pwm_core.extraction.layer_gradients import output
from pwm_core.extraction.reward import TrainingReward
from pwm_core.extraction.spread import SPREADS, Spread


class Learner:
    """What one task learns with; ``Together`` lets several of them imagine side by side."""

    def __init__(
        self,
        latent: int,
        actions: int,
        discount: float,
        reward: TrainingReward,
        config: ExtractionConfig,
        device: torch.device,
    ) -> None:
        """``latent`` of the model, ``actions`` of the policy, ``discount`` per decision.

        ``config.seed`` draws the weights.
        """
        self.config, self.device = config, device
        self.actions, self.discount, self.reward = actions, discount, reward
        torch.manual_seed(config.seed)
        networks = config.networks
        self.actor = Actor(latent, config.actor_hidden, actions, config.sigma_floor, networks)
        self.critics = Critics(latent, config.critic_hidden, config.critics, networks)
        self.actor.to(device), self.critics.to(device)
        self.actor_optimizer = self._adam(self.actor.parameters(), config.actor_rate)
        self.critic_weights = FlatParameters(self.critics)
        self.critic_optimizer = self._adam([self.critic_weights.whole], config.critic_rate)
        self.spread: Spread = SPREADS[config.spread](device)
        self.compiled = False
        """Whether the critics' gradient is compiled."""

    def _adam(self, parameters: Iterable[torch.nn.Parameter], rate: float) -> torch.optim.Adam:
        return torch.optim.Adam(parameters, rate, betas=self.config.betas, fused=True)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that goes on from here, for a checkpoint."""
        return (
            prefixed("actor", self.actor.state_dict())
            | prefixed("critics", self.critics.state_dict())
            | prefixed("actor_optimizer", optimizer_tensors(self.actor_optimizer))
            | prefixed("critic_optimizer", optimizer_tensors(self.critic_optimizer))
            | {"return_spread": self.spread.state}
        )

    def load(self, tensors: Mapping[str, Tensor], source: Path | str) -> None:
        """Restore what :meth:`tensors` returned; ``CheckpointError`` names what does not fit."""
        for name, module in (("actor", self.actor), ("critics", self.critics)):
            load_weights(module, part(name, tensors), source)
        load_optimizer(self.actor_optimizer, part("actor_optimizer", tensors))
        load_optimizer(self.critic_optimizer, part("critic_optimizer", tensors))
        self.spread.state = tensors["return_spread"].to(self.device)

    def generator(self, iteration: int) -> torch.Generator:
        """Return what draws the noise, then the critics' mini-batches, of an iteration."""
        seed = self.config.seed * 1_000_003 + iteration
        return torch.Generator(self.device).manual_seed(seed)

    def noise(self, batch: int, generator: torch.Generator) -> Tensor:
        """Return the actor's noise ``[horizon, batch, A]``."""
        shape = self.config.horizon, batch, self.actions
        return torch.randn(shape, generator=generator, device=self.device)

    def schedule(self, iteration: int) -> None:
        """Set the learning rates of an iteration."""
        done, config = iteration / self.config.iterations, self.config
        for optimizer, rate in (
            (self.actor_optimizer, config.actor_rate),
            (self.critic_optimizer, config.critic_rate),
        ):
            resting = optimizer is self.actor_optimizer and iteration < config.critic_iterations
            decayed = rate + done * (config.final_rate - rate)
            set_rate(optimizer.param_groups[0], 0.0 if resting else decayed)

    def keep_rates_on_device(self) -> None:
        """Keep the learning rates where a CUDA graph reads them anew each time."""
        for optimizer in (self.actor_optimizer, self.critic_optimizer):
            keep_rates_on(self.device, optimizer)

    def twin(self) -> Learner:
        """Return a learner with a copy of the actor, and with the same critics."""
        twin = copy(self)
        twin.actor = deepcopy(self.actor)
        return twin

    def actor_gradient(self) -> Tensor:
        """Return the gradients that the actor's parameters have, as one vector."""
        return torch.cat([p.grad.flatten() for p in self.actor.parameters() if p.grad is not None])

    def step_actor(self) -> Tensor:
        """Follow the gradient that the actor's parameters have; return its norm before clipping."""
        norm = torch.nn.utils.clip_grad_norm_(self.actor.parameters(), self.config.actor_clip)
        self.actor_optimizer.step()
        self.actor.lift_sigma()
        return norm.detach()

    def value(self, z: Tensor) -> Tensor:
        """Return the least of the critics' values ``[…]`` of ``z [..., latent]``, no gradient."""
        rows = z.flatten(0, -2).expand(self.critics.members, -1, -1)
        return output(self.critics.network, rows).amin(0).view(z.shape[:-1])

    def orders(self, states: int, generator: torch.Generator) -> Tensor:
        """Return the order of an iteration's states in each of the critics' passes."""
        passes, device = self.config.critic_passes, self.device
        if not self.config.shuffle:
            return torch.arange(states, device=device).expand(passes, -1)
        drawn = [torch.randperm(states, generator=generator, device=device) for _ in range(passes)]
        return torch.stack(drawn)

    def fit_critics(self, z: Tensor, target: Tensor, orders: Tensor) -> Tensor:
        """Fit ``z [states, latent]`` to ``target [states]`` in the ``orders [passes, states]``.

        Return the mean loss.
        """
        config, states = self.config, (z, target)
        total, fits = torch.zeros((), device=self.device), 0  # too few states make fewer batches
        for order in orders:
            drawn = (each.index_select(0, order).chunk(config.critic_batches) for each in states)
            for rows, wanted in zip(*drawn, strict=True):
                loss, gradients = critic_gradient(self.critics, rows, wanted, self.compiled)
                self.critic_weights.follow(gradients)
                self.critic_weights.clip(config.critic_clip)
                self.critic_optimizer.step()
                total, fits = total + loss, fits + 1
        return total / fits
