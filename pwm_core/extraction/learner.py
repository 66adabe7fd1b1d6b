# SPDX-License-Identifier: Apache-2.0
"""One iteration of extraction: the actor's step through the frozen model, then the critics'."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pwm_core.checkpoint import load_optimizer, load_weights, optimizer_tensors, part, prefixed
from pwm_core.extraction.actor_critic import Actor, Critics
from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.critic_gradient import critic_gradient
from pwm_core.extraction.loss import (
    Imagined,
    critic_loss,
    imagine,
    lambda_returns,
    objectives,
)
from pwm_core.extraction.reward import TrainingReward
from pwm_core.extraction.spread import SPREADS, Spread
from pwm_core.model.world_model import WorldModel

GROUPS = 8
"""Parts of a batch whose gradients are compared to tell signal from noise."""


class Learner:
    """Actor, critics and their optimisers; the algorithm without loop and files."""

    def __init__(
        self,
        model: WorldModel,
        actions: int,
        discount: float,
        reward: TrainingReward,
        config: ExtractionConfig,
        device: torch.device,
    ) -> None:
        """``actions`` of the policy, ``discount`` per decision; ``config.seed`` draws weights."""
        self.model, self.config, self.device = model, config, device
        self.actions, self.discount, self.reward = actions, discount, reward
        torch.manual_seed(config.seed)
        latent, networks = model.config.latent, config.networks
        self.actor = Actor(latent, config.actor_hidden, actions, config.sigma_floor, networks)
        self.critics = Critics(latent, config.critic_hidden, config.critics, networks)
        self.actor_optimizer = self._adam(self.actor, config.actor_rate)
        self.critic_optimizer = self._adam(self.critics, config.critic_rate)
        self.spread: Spread = SPREADS[config.spread](device)
        self._compiled = False
        self._bootstrap = config.horizon + (config.bootstrap == "H+1")

    def _adam(self, module: torch.nn.Module, rate: float) -> torch.optim.Adam:
        module.to(self.device)
        return torch.optim.Adam(module.parameters(), rate, betas=self.config.betas, fused=True)

    def compile(self) -> None:
        """Compile the networks."""
        self._compiled = True
        self.model.compile_parts()
        self.critics.network.compile()

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

    def update(self, z: Tensor, embedding: Tensor, iteration: int) -> dict[str, Tensor]:
        """Run iteration number ``iteration`` from ``z [batch, latent]``; return its figures."""
        self._schedule(iteration)
        generator = self._generator(iteration)
        imagined, reward, objective = self._rollout(z, embedding, self._noise(len(z), generator))
        loss = -objective.mean()
        self.actor_optimizer.zero_grad(set_to_none=True)
        scaled = loss / self.spread.divisor(objective.detach())
        scaled.backward(inputs=list(self.actor.parameters()))
        norm = torch.nn.utils.clip_grad_norm_(self.actor.parameters(), self.config.actor_clip)
        self.actor_optimizer.step()
        self.actor.lift_sigma()
        target = self._targets(imagined, reward)
        self.spread.observe(target, first=iteration == 0)
        latent = imagined.latent[:-1].detach()
        return {
            "loss/actor": loss.detach(),
            "loss/critic": self._fit_critics(latent.flatten(0, 1), target.flatten(), generator),
            "gradient_norm/actor": norm.detach(),
            "sigma": self.actor.sigma().detach().mean(),
        }

    def gradient_noise(self, z: Tensor, embedding: Tensor, iteration: int) -> float:
        """Return the standard error of the actor's gradient over its norm.

        Near zero all rollouts of a batch agree on the direction; at one it is as long as pure noise
        would be. Estimated from the gradients of up to eight parts of the batch.
        """
        groups = min(GROUPS, len(z))
        noise = self._noise(len(z), self._generator(iteration))
        parameters = list(self.actor.parameters())
        gradients = []
        for rows in torch.arange(len(z), device=z.device).tensor_split(groups):
            objective = self._rollout(z[rows], embedding[rows], noise[:, rows])[2]
            found = torch.autograd.grad(objective.mean(), parameters)
            gradients.append(torch.cat([gradient.flatten() for gradient in found]))
        each = torch.stack(gradients)
        error = (each.var(0).sum() / groups).sqrt()
        return float(error / each.mean(0).norm().clamp(min=1e-12))

    def _generator(self, iteration: int) -> torch.Generator:
        seed = self.config.seed * 1_000_003 + iteration
        return torch.Generator(self.device).manual_seed(seed)

    def _noise(self, batch: int, generator: torch.Generator) -> Tensor:
        shape = self.config.horizon, batch, self.actions
        return torch.randn(shape, generator=generator, device=self.device)

    def _rollout(
        self, z: Tensor, embedding: Tensor, noise: Tensor
    ) -> tuple[Imagined, Tensor, Tensor]:
        """Return the rollout, rewards ``[horizon, batch]`` to train on, objectives ``[batch]``."""
        imagined = imagine(
            self.model, self.actor, z, embedding, noise, detach=self.config.detach_actor
        )
        reward = self.reward(self.model, imagined, embedding)
        value = self.critics(imagined.latent[-1]).min(0).values
        objective = objectives(reward, imagined.continues, value, self.discount, self._bootstrap)
        return imagined, reward, objective

    @torch.no_grad()
    def _targets(self, imagined: Imagined, reward: Tensor) -> Tensor:
        latent = imagined.latent[1:].detach().flatten(0, 1)
        value = self.critics(latent).min(0).values.view_as(reward)
        return lambda_returns(reward, value, self.discount * imagined.continues, self.config.lam)

    def _fit_critics(self, z: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        """Fit ``z [states, latent]`` to ``target [states]``; return the mean loss."""
        config = self.config
        total = torch.zeros((), device=self.device)
        order = torch.arange(len(z), device=self.device)
        for _ in range(config.critic_passes):
            if config.shuffle:
                order = torch.randperm(len(z), generator=generator, device=self.device)
            for chosen in order.chunk(config.critic_batches):
                total += self._critic_gradient(z[chosen], target[chosen])
                torch.nn.utils.clip_grad_norm_(self.critics.parameters(), config.critic_clip)
                self.critic_optimizer.step()
        return total / (config.critic_passes * config.critic_batches)

    def _critic_gradient(self, z: Tensor, target: Tensor) -> Tensor:
        """Set the critics' gradients and return the loss."""
        if not self._compiled:
            return critic_gradient(self.critics, z, target)
        loss = critic_loss(self.critics, z, target)
        self.critic_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return loss.detach()

    def _schedule(self, iteration: int) -> None:
        done, config = iteration / self.config.iterations, self.config
        for optimizer, rate in (
            (self.actor_optimizer, config.actor_rate),
            (self.critic_optimizer, config.critic_rate),
        ):
            optimizer.param_groups[0]["lr"] = rate + done * (config.final_rate - rate)
