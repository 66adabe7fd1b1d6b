# SPDX-License-Identifier: Apache-2.0
"""Layers of PWM's networks (the TD-MPC2 family): Linear, LayerNorm, Mish, SimNorm."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class Mish(nn.Module):
    """``x · tanh(softplus(x))`` in its rational form, one ``exp`` that compilers vectorise."""

    def forward(self, x: Tensor) -> Tensor:
        e = torch.exp(x.clamp(max=20.0))  # beyond 20, Mish is the identity to float precision
        n = e * (e + 2)
        return x * (n / (n + 2))


class SimNorm(nn.Module):
    """Softmax over groups of the last axis: each group becomes a point on a simplex."""

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        groups = x.unflatten(-1, (-1, self.group))
        e = torch.exp(groups - groups.amax(-1, keepdim=True).detach())
        return (e / e.sum(-1, keepdim=True)).flatten(-2)


def initialise(module: nn.Module) -> None:
    """Draw Linear weights from a truncated normal of scale 0.02, biases zero (TD-MPC2)."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def mlp(sizes: Sequence[int], output: nn.Module | None = None) -> nn.Sequential:
    """Return Linear → LayerNorm → Mish per hidden layer, then Linear.

    With ``output`` (SimNorm for latents) the last layer is Linear → LayerNorm → ``output``.
    """
    layers: list[nn.Module] = []
    for inputs, width in pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, width), nn.LayerNorm(width), Mish()]
    layers.append(nn.Linear(sizes[-2], sizes[-1]))
    if output is not None:
        layers += [nn.LayerNorm(sizes[-1]), output]
    network = nn.Sequential(*layers)
    network.apply(initialise)
    return network


def renormalise(embedding: Tensor) -> Tensor:
    """Scale rows of ``[tasks, width]`` down to norm 1 where they are longer."""
    return embedding / functional.relu(embedding.norm(dim=-1, keepdim=True) - 1).add(1)
