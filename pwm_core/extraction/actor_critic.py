# SPDX-License-Identifier: Apache-2.0
"""Actor and critics on latents, and the policy a robot runs: encoder and actor in one module."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pwm_core.model.latents import build_encoder
from pwm_core.model.networks import Mish, initialise, mlp, renormalise
from pwm_core.model.world_model import WorldModel, WorldModelConfig

Networks = Literal["norm-mish", "mish-norm"]
"""Linear → LayerNorm → Mish with small weights, or PWM's released Linear → Mish → LayerNorm with
PyTorch's own initial weights for the actor and orthogonal ones for critics."""


def actor_network(sizes: Sequence[int], networks: Networks) -> nn.Sequential:
    """Return the actor's layers, the last of them Linear."""
    if networks == "norm-mish":
        return mlp(sizes)
    layers: list[nn.Module] = []
    for inputs, width in pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, width), Mish(), nn.LayerNorm(width)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class Actor(nn.Module):
    """``a = tanh(mu(z) + sigma · eps)``; sigma is learned per action and bounded below."""

    def __init__(
        self,
        latent: int,
        hidden: Sequence[int],
        actions: int,
        sigma_floor: float,
        networks: Networks = "norm-mish",
    ) -> None:
        super().__init__()
        self.mean = actor_network([latent, *hidden, actions], networks)
        self.log_sigma = nn.Parameter(torch.full((actions,), -1.0))
        self.log_floor = math.log(sigma_floor)

    def sigma(self) -> Tensor:
        """Return the exploration scale per action ``[A]``."""
        return self.log_sigma.clamp(min=self.log_floor).exp()

    @torch.no_grad()
    def lift_sigma(self) -> None:
        """Put sigma back on its floor: below it no gradient would ever raise it again."""
        self.log_sigma.clamp_(min=self.log_floor)

    def sample(self, z: Tensor, noise: Tensor) -> Tensor:
        """Return actions ``[batch, A]`` in (-1, 1) for standard normal ``noise``."""
        return torch.tanh(self.mean(z) + self.sigma() * noise)

    def forward(self, z: Tensor) -> Tensor:
        """Return the deterministic action ``[batch, A]``."""
        return torch.tanh(self.mean(z))


class StackedLinear(nn.Module):
    """``members`` Linear layers in one batched product: ``[members, batch, in] -> […, out]``."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter) -> None:
        """Take ``weight [members, in, out]`` and ``bias [members, 1, out]``."""
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class StackedNorm(nn.Module):
    """LayerNorm with its own gain and bias for each member."""

    eps = 1e-5

    def __init__(self, gain: nn.Parameter, bias: nn.Parameter) -> None:
        """Take ``gain`` and ``bias``, ``[members, 1, width]``."""
        super().__init__()
        self.gain, self.bias = gain, bias

    @property
    def weight(self) -> Tensor:
        """Gain by ``nn.LayerNorm``'s name."""
        return self.gain

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(
            self.bias, functional.layer_norm(x, x.shape[-1:], eps=self.eps), self.gain
        )


def drawn_linear(members: int, inputs: int, outputs: int, networks: Networks) -> StackedLinear:
    """Return layers that start apart, with biases of zero."""
    layers = [nn.Linear(inputs, outputs) for _ in range(members)]
    for layer in layers:
        if networks == "norm-mish":
            initialise(layer)
        else:
            nn.init.orthogonal_(layer.weight, gain=math.sqrt(2))
    weight = torch.stack([layer.weight.detach().T for layer in layers])
    return StackedLinear(nn.Parameter(weight), nn.Parameter(torch.zeros(members, 1, outputs)))


def identity_norm(members: int, width: int) -> StackedNorm:
    """Return norms with gains of one and biases of zero."""
    shape = members, 1, width
    return StackedNorm(nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape)))


class Critics(nn.Module):
    """An ensemble of state-value functions, evaluated together."""

    def __init__(
        self,
        latent: int,
        hidden: Sequence[int],
        members: int,
        networks: Networks = "norm-mish",
    ) -> None:
        super().__init__()
        sizes = [latent, *hidden]
        layers: list[nn.Module] = []
        for inputs, width in pairwise(sizes):
            then = [identity_norm(members, width), Mish()]
            linear = drawn_linear(members, inputs, width, networks)
            layers += [linear, *(then if networks == "norm-mish" else reversed(then))]
        self.members = members
        self.network = nn.Sequential(*layers, drawn_linear(members, sizes[-1], 1, networks))

    def forward(self, z: Tensor) -> Tensor:
        """Return values ``[members, batch]`` of latents ``[batch, latent]``."""
        return self.network(z.expand(self.members, *z.shape)).squeeze(-1)


class Policy(nn.Module):
    """Raw observation ``[batch, O]`` → normalisation → encoder → actor → action in [-1, 1].

    The task embedding is folded into the bias of the encoder's first layer.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        model: WorldModelConfig,
        observations: int,
        actions: int,
        hidden: Sequence[int],
        sigma_floor: float,
        networks: Networks = "norm-mish",
    ) -> None:
        super().__init__()
        self.encoder = build_encoder(model, observations)
        self.actor = Actor(model.latent, hidden, actions, sigma_floor, networks)
        self.register_buffer("mean", torch.zeros(observations))
        self.register_buffer("scale", torch.ones(observations))

    @torch.no_grad()
    def adopt(self, world_model: WorldModel, task: int, actor: Actor) -> None:
        """Copy encoder and normalisation of ``world_model`` for ``task``, and ``actor``.

        An ``actor`` that also drives padded actions leaves those behind.
        """
        size = len(self.mean)
        self.mean.copy_(world_model.observation_mean[task, :size])
        self.scale.copy_(world_model.observation_scale[task, :size])
        self.encoder.load_state_dict(
            {
                name: tensor[:, :size] if name == "0.weight" else tensor
                for name, tensor in world_model.encoder.state_dict().items()
            }
        )
        padded = world_model.observation_mean.shape[1]
        embedding = renormalise(world_model.task_embedding)[task]
        weight = world_model.encoder.get_parameter("0.weight")
        self.encoder.get_parameter("0.bias").add_(weight[:, padded:] @ embedding)
        own = self.actor.state_dict()
        self.actor.load_state_dict(
            {name: tensor[: len(own[name])] for name, tensor in actor.state_dict().items()}
        )

    def forward(self, observation: Tensor) -> Tensor:
        """Return actions ``[batch, A]`` in [-1, 1]."""
        return self.actor(self.encoder((observation - self.mean) / self.scale))
