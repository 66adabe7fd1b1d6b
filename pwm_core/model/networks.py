# SPDX-License-Identifier: Apache-2.0
"""Layers of PWM's networks (the TD-MPC2 family): Linear, LayerNorm, Mish, SimNorm and kin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    def __init__(self, group: int, temperature: float = 1.0) -> None:
        super().__init__()
        self.group, self.temperature = group, temperature

    def forward(self, x: Tensor) -> Tensor:
        groups = x.unflatten(-1, (-1, self.group))
        if self.temperature != 1:
            groups = groups / self.temperature
        e = torch.exp(groups - groups.amax(-1, keepdim=True).detach())
        return (e / e.sum(-1, keepdim=True)).flatten(-2)


class SpectralLinear(nn.Linear):
    """Linear whose weight is divided by its largest singular value (arXiv 1802.05957).

    The value comes from power iteration, one step per training pass, as the weight moves slowly.
    """

    direction: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("direction", functional.normalize(torch.randn(outputs), dim=0))

    def normalised(self) -> Tensor:
        """Return the weight ``[out, in]`` divided by its largest singular value."""
        with torch.no_grad():
            right = functional.normalize(self.weight.mT @ self.direction, dim=0)
            left = functional.normalize(self.weight @ right, dim=0)
        if self.training and torch.is_grad_enabled():
            self.direction.copy_(left)
        return self.weight / (left @ self.weight @ right)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.normalised(), self.bias)


def initialise(module: nn.Module) -> None:
    """Draw Linear weights from a truncated normal of scale 0.02, biases zero (TD-MPC2)."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _linear(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs)]


def mlp(
    sizes: Sequence[int], output: Callable[[int, int], list[nn.Module]] = _linear
) -> nn.Sequential:
    """Return Linear → LayerNorm → Mish per hidden layer, then the layers that ``output`` makes.

    ``output`` takes the numbers of inputs and outputs of the last layer, Linear without it.
    """
    layers: list[nn.Module] = []
    for inputs, width in pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, width), nn.LayerNorm(width), Mish()]
    network = nn.Sequential(*layers, *output(sizes[-2], sizes[-1]))
    network.apply(initialise)
    return network


def renormalise(embedding: Tensor) -> Tensor:
    """Scale rows of ``[tasks, width]`` down to norm 1 where they are longer."""
    return embedding / functional.relu(embedding.norm(dim=-1, keepdim=True) - 1).add(1)
