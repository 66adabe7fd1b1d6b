# SPDX-License-Identifier: Apache-2.0
"""The same training written plainly, to compare speed and numbers with.

Eager PyTorch in the way of the paper's released code: ``nn.Mish``, softmax SimNorm, the task
embedding looked up at every call, the reward head inside the time loop, values of all steps written
into one buffer (which makes backward visit the critics at every step), weight gradients of the
world model computed though nothing uses them, default Adam. Departing from the released code, which
batches its critics with ``vmap``, the critics are a list with an optimiser each. Sizes, random
numbers and updates are those of ``pwm_core``, so the losses must agree up to float rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pwm_core.data.sampler import Windows
from pwm_core.extraction.actor_critic import Critics
from pwm_core.extraction.runner import Extraction
from pwm_core.model.world_model import WorldModel
from pwm_core.pretraining.runner import Pretraining


class SoftmaxSimNorm(nn.Module):
    """Softmax over groups of the last axis."""

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        return functional.softmax(x.view(*x.shape[:-1], -1, self.group), dim=-1).view(*x.shape)


def plain_mlp(sizes: Sequence[int], output: nn.Module | None = None) -> nn.Sequential:
    """Return Linear → LayerNorm → Mish per hidden layer, then Linear (→ LayerNorm → output)."""
    layers: list[nn.Module] = []
    for inputs, width in pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, width), nn.LayerNorm(width), nn.Mish()]
    layers.append(nn.Linear(sizes[-2], sizes[-1]))
    if output is not None:
        layers += [nn.LayerNorm(sizes[-1]), output]
    return nn.Sequential(*layers)


class PlainTwoHot(nn.Module):
    """Reward bins in symlog space, as in TD-MPC2."""

    centres: Tensor

    def __init__(self, centres: Tensor) -> None:
        super().__init__()
        self.register_buffer("centres", centres.clone())

    def decode(self, logits: Tensor) -> Tensor:
        """Return the expected value ``[batch]`` of ``logits [batch, bins]``."""
        x = (functional.softmax(logits, dim=-1) * self.centres).sum(-1)
        return torch.sign(x) * (torch.exp(x.abs()) - 1)

    def cross_entropy(self, logits: Tensor, reward: Tensor) -> Tensor:
        """Return the cross-entropy ``[batch]`` to ``reward [batch]`` split over two bins."""
        low, high, bins = self.centres[0], self.centres[-1], len(self.centres)
        x = torch.sign(reward) * torch.log(1 + reward.abs())
        place = (x.clamp(low, high) - low) / ((high - low) / (bins - 1))
        left = place.floor().long().clamp(max=bins - 2)
        part = (place - left)[:, None]
        target = functional.one_hot(left, bins) * (1 - part)
        target = target + functional.one_hot(left + 1, bins) * part
        return -(target * functional.log_softmax(logits, dim=-1)).sum(-1)


class PlainWorldModel(nn.Module):
    """A copy of ``model``, weights included; parameter names are the same."""

    observation_mean: Tensor
    observation_scale: Tensor
    action_mask: Tensor

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        config = model.config
        if not config.reward_symlog:
            raise ValueError("the reference knows rewards in symlog space only")
        tasks, observations = model.observation_mean.shape
        actions = model.action_mask.shape[1]
        e, z, width = config.task_embedding, config.latent, config.width
        self.task_embedding = nn.Parameter(torch.zeros(tasks, e))
        self.encoder = plain_mlp(
            [observations + e, *[config.encoder_width] * config.encoder_layers, z],
            SoftmaxSimNorm(config.simnorm_group),
        )
        self.dynamics = plain_mlp(
            [z + actions + e, width, width, z], SoftmaxSimNorm(config.simnorm_group)
        )
        self.reward_head = plain_mlp([z + actions + e, width, width, config.bins])
        self.two_hot = PlainTwoHot(model.two_hot.centres)
        self.register_buffer("observation_mean", torch.zeros(tasks, observations))
        self.register_buffer("observation_scale", torch.ones(tasks, observations))
        self.register_buffer("action_mask", torch.ones(tasks, actions))
        self.load_state_dict(model.state_dict())

    def _with_task(self, x: Tensor, task: Tensor) -> Tensor:
        norm = self.task_embedding.norm(dim=-1, keepdim=True)
        embedding = (self.task_embedding / norm.clamp(min=1))[task]
        return torch.cat([x, embedding.expand(*x.shape[:-1], -1)], dim=-1)

    def encode(self, observation: Tensor, task: Tensor) -> Tensor:
        """Return latents of raw observations ``[…, batch, O]``."""
        normal = (observation - self.observation_mean[task]) / self.observation_scale[task]
        return self.encoder(self._with_task(normal, task))

    def next(self, z: Tensor, action: Tensor, task: Tensor) -> Tensor:
        """Return the latents after ``action [batch, A]``."""
        return self.dynamics(self._with_task(torch.cat([z, action], -1), task))

    def reward_logits(self, z: Tensor, action: Tensor, task: Tensor) -> Tensor:
        """Return logits ``[batch, bins]``."""
        return self.reward_head(self._with_task(torch.cat([z, action], -1), task))


class PlainPretraining:
    """World-model updates with weights, batches and learning rates of ``original``."""

    def __init__(self, original: Pretraining) -> None:
        self.original, self.step = original, original.step
        self.model = PlainWorldModel(original.model)
        encoder = list(self.model.encoder.parameters())
        others = [p for n, p in self.model.named_parameters() if not n.startswith("encoder.")]
        self.optimizer = torch.optim.Adam(
            [{"params": others}, {"params": encoder}], betas=original.config.betas
        )

    def update(self, horizon: int) -> Tensor:
        """Run one update on windows of ``horizon`` and return the loss."""
        for mine, theirs in zip(
            self.optimizer.param_groups, self.original.optimizer.param_groups, strict=True
        ):
            mine["lr"] = theirs["lr"]
        loss = self.loss(self.original.samplers[horizon].batch(self.step))
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.original.config.clip)
        self.optimizer.step()
        self.step += 1
        return loss.detach()

    def loss(self, windows: Windows) -> Tensor:
        """Return the loss of ``windows``, step by step."""
        model, weights, task = self.model, self.original.config.weights, windows.task
        with torch.no_grad():
            target = model.encode(windows.observation[1:], task)
        z = model.encode(windows.observation[0], task)
        consistency, reward = torch.zeros(()), torch.zeros(())
        for t, action in enumerate(windows.action):
            logits = model.reward_logits(z, action, task)
            entropy = model.two_hot.cross_entropy(logits, windows.reward[t])
            reward = reward + entropy.mean() * weights.rho**t
            z = model.next(z, action, task)
            consistency = consistency + functional.mse_loss(z, target[t]) * weights.rho**t
        return (weights.consistency * consistency + weights.reward * reward) / len(windows.action)


class PlainActor(nn.Module):
    """Actor with the parameter names of ``pwm_core``'s."""

    def __init__(self, latent: int, hidden: Sequence[int], actions: int, floor: float) -> None:
        super().__init__()
        self.mean = plain_mlp([latent, *hidden, actions])
        self.log_sigma = nn.Parameter(torch.zeros(actions))
        self._floor = floor

    def sample(self, z: Tensor, noise: Tensor) -> Tensor:
        """Return actions ``[batch, A]``."""
        sigma = self.log_sigma.clamp(min=float(np.log(self._floor))).exp()
        return torch.tanh(self.mean(z) + sigma * noise)


def plain_critic(critics: Critics, member: int, sizes: Sequence[int]) -> nn.Sequential:
    """Return one member of the stacked ensemble as a network of its own."""
    critic = plain_mlp(sizes)
    stacked = dict(critics.network.named_parameters())
    with torch.no_grad():
        for number, layer in enumerate(critic):
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(stacked[f"{number}.weight"][member].T)
                layer.bias.copy_(stacked[f"{number}.bias"][member, 0])
            elif isinstance(layer, nn.LayerNorm):
                layer.weight.copy_(stacked[f"{number}.gain"][member, 0])
                layer.bias.copy_(stacked[f"{number}.bias"][member, 0])
    return critic


class PlainExtraction:
    """Extraction iterations with weights, start states, noise and rates of ``original``."""

    def __init__(self, original: Extraction) -> None:
        self.original, self.config = original, original.config
        self.iteration, config = original.iteration, original.config
        self.model = PlainWorldModel(original.model)
        latent, self.actions = original.model.config.latent, original.info.action.size
        self.actor = PlainActor(latent, config.actor_hidden, self.actions, config.sigma_floor)
        self.actor.load_state_dict(original.learner.actor.state_dict())
        sizes = [latent, *config.critic_hidden, 1]
        members = range(config.critics)
        self.critics = [plain_critic(original.learner.critics, member, sizes) for member in members]
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), betas=config.betas)
        self.critic_optimizers = [
            torch.optim.Adam(critic.parameters(), betas=config.betas) for critic in self.critics
        ]
        self.return_spread = torch.ones(())
        episodes = original.dataset.of_task(original.info.name)
        self._rows = np.concatenate([np.arange(e.start, e.rows.stop - 1) for e in episodes])

    def iterate(self) -> dict[str, Tensor]:
        """Run one iteration and return the losses of actor and critics."""
        self._follow_rates()
        config = self.config
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.iteration)
        rows = np.random.default_rng([config.seed, self.iteration]).choice(self._rows, config.batch)
        observation = torch.from_numpy(self.original.dataset.observation[rows])
        noise = torch.randn((config.horizon, config.batch, self.actions), generator=generator)
        self.actor_optimizer.zero_grad()
        loss, latents, rewards, values = self._rollout(observation, noise)
        (loss / self.return_spread.clamp(min=1e-3)).backward()
        nn.utils.clip_grad_norm_(self.actor.parameters(), config.actor_clip)
        self.actor_optimizer.step()
        errors = self._fit_critics(latents, self._targets(rewards, values), generator)
        self.iteration += 1
        return {"loss/actor": loss.detach(), "loss/critic": errors}

    def _follow_rates(self) -> None:
        actor_rate = self.original.learner.actor_optimizer.param_groups[0]["lr"]
        critic_rate = self.original.learner.critic_optimizer.param_groups[0]["lr"]
        self.actor_optimizer.param_groups[0]["lr"] = actor_rate
        for optimizer in self.critic_optimizers:
            optimizer.param_groups[0]["lr"] = critic_rate

    def _value(self, z: Tensor) -> Tensor:
        return torch.stack([critic(z) for critic in self.critics]).min(0).values.squeeze(-1)

    def _rollout(self, observation: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return actor loss, latents ``[H, batch, latent]``, rewards and values ``[H, batch]``."""
        model, discount = self.model, self.original.info.discount
        horizon, batch = noise.shape[:2]
        task = torch.full((batch,), self.original.index)
        padding = model.action_mask.shape[1] - self.actions
        latents = torch.zeros(horizon, batch, self.original.model.config.latent)
        rewards, values = torch.zeros(horizon, batch), torch.zeros(horizon, batch)
        objective = torch.zeros(batch)
        z = model.encode(observation, task)
        for t in range(horizon):
            latents[t] = z.detach()
            action = functional.pad(self.actor.sample(z, noise[t]), (0, padding))
            reward = model.two_hot.decode(model.reward_logits(z, action, task))
            reward = reward / self.original.learner.reward.scale
            z = model.next(z, action, task)
            objective = objective + discount**t * reward
            rewards[t] = reward.detach()
            values[t] = self._value(z)
        loss = -(objective + discount**horizon * values[-1]).mean()
        return loss, latents, rewards, values.detach()

    def _targets(self, rewards: Tensor, values: Tensor) -> Tensor:
        discount, lam = self.original.info.discount, self.config.lam
        targets, following = torch.zeros_like(rewards), values[-1]
        for t in reversed(range(len(rewards))):
            following = rewards[t] + discount * ((1 - lam) * values[t] + lam * following)
            targets[t] = following
        self.return_spread.lerp_(targets.std(), 0.05 if self.iteration else 1.0)
        return targets

    def _fit_critics(self, latents: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        config = self.config
        z, target = latents.flatten(0, 1), targets.flatten()
        total = torch.zeros(())
        for _ in range(config.critic_passes):
            for chosen in torch.randperm(len(z), generator=generator).chunk(config.critic_batches):
                for critic, optimizer in zip(self.critics, self.critic_optimizers, strict=True):
                    loss = functional.mse_loss(critic(z[chosen]).squeeze(-1), target[chosen])
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(critic.parameters(), config.critic_clip)
                    optimizer.step()
                    total += loss.detach()
        return total / (config.critic_passes * config.critic_batches)
