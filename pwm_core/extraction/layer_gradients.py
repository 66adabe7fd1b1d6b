# SPDX-License-Identifier: Apache-2.0
"""Networks of extraction run forward and backward by hand, by ``model.layer_gradients``.

The ensembles' layers have rules of their own; a :class:`Visit` remembers what the way back needs.
Gradients of parameters are taken only where :func:`settle` asks for them: never for a frozen
network, and in one product per layer for a network that was visited at every step of a rollout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pwm_core.extraction.actor_critic import StackedLinear, StackedNorm
from pwm_core.model.layer_gradients import RULES, Rule, Saved
from pwm_core.model.products import products


class StackedLinearRule(Rule):
    """:class:`StackedLinear`: ``[members, rows, in] -> [members, rows, out]``."""

    def forward(self, layer: StackedLinear, x: Tensor) -> tuple[Tensor, Saved]:
        return products(x, layer.weight, layer.bias), (x,)

    def backward(self, layer: StackedLinear, saved: Saved, gradient: Tensor) -> Tensor:
        return products(gradient, layer.weight.mT)

    def settle(self, x: Tensor, gradient: Tensor) -> list[Tensor]:
        """Return the gradients of weight and bias for all rows."""
        return [products(x.mT, gradient), gradient.sum(1, keepdim=True)]


class StackedNormRule(Rule):
    """:class:`StackedNorm`: ``[members, rows, width]``."""

    def forward(self, layer: StackedNorm, x: Tensor) -> tuple[Tensor, Saved]:
        normal, mean, scale = torch.native_layer_norm(x, x.shape[-1:], None, None, 1e-5)
        return torch.addcmul(layer.bias, normal, layer.gain), (normal, x, mean, scale)

    def backward(self, layer: StackedNorm, saved: Saved, gradient: Tensor) -> Tensor:
        _, x, mean, scale = saved
        shape, wanted = x.shape[-1:], [True, False, False]
        return torch.ops.aten.native_layer_norm_backward(
            gradient * layer.gain, x, shape, mean, scale, None, None, wanted
        )[0]

    def settle(self, normal: Tensor, gradient: Tensor) -> list[Tensor]:
        """Return the gradients of gain and bias for all rows."""
        return [(gradient * normal).sum(1, keepdim=True), gradient.sum(1, keepdim=True)]


_SETTLED = (StackedLinear, StackedNorm)
_STACKED = {StackedLinear: StackedLinearRule(), StackedNorm: StackedNormRule()}
_RULES: dict[type[nn.Module], Any] = {**RULES, **_STACKED}


class Visit:
    """One pass through the layers of a network, and back."""

    def __init__(self, network: nn.Sequential) -> None:
        self._network = network
        self._saved: list[Saved] = []
        self._gradients: list[Tensor] = []

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output for ``x``."""
        for layer in self._network:
            x, saved = _RULES[type(layer)].forward(layer, x)
            self._saved.append(saved)
        return x

    @torch.no_grad()
    def backward(self, gradient: Tensor, inputs: bool = True) -> Tensor:
        """Return the gradient of the input for that of the output.

        Without ``inputs`` that of the first layer's output, which is all that :func:`settle` needs.
        """
        for place in reversed(range(len(self._network))):
            layer = self._network[place]
            if type(layer) in _SETTLED:
                self._gradients.append(gradient)
            if place or inputs:
                gradient = _RULES[type(layer)].backward(layer, self._saved[place], gradient)
        return gradient

    def operands(self) -> list[tuple[Tensor, Tensor]]:
        """Return what settles each layer with parameters of its own, first layer first."""
        kept = [
            saved[0]
            for layer, saved in zip(self._network, self._saved, strict=True)
            if type(layer) in _SETTLED
        ]
        return list(zip(kept, reversed(self._gradients), strict=True))


@torch.no_grad()
def settle(network: nn.Sequential, visits: Sequence[Visit]) -> list[Tensor]:
    """Return the gradients of the parameters of ``network`` for all of its ``visits`` together."""
    layers = [layer for layer in network if type(layer) in _SETTLED]
    columns = zip(*(visit.operands() for visit in visits), strict=True)
    gradients: list[Tensor] = []
    for layer, column in zip(layers, columns, strict=True):
        operand, gradient = (_rows(part) for part in zip(*column, strict=True))
        gradients += _RULES[type(layer)].settle(operand, gradient)
    return gradients


def _rows(parts: Sequence[Tensor]) -> Tensor:
    """Return the rows ``[members, rows, width]`` of all ``parts``."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), 1)


class _ByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, network: nn.Sequential) -> Tensor:
        ctx.visit = Visit(network)
        return ctx.visit.forward(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.visit.backward(gradients[0]), None


def frozen(network: nn.Sequential, x: Tensor) -> Tensor:
    """Return the network's output for ``x``; autograd finds the gradient of ``x`` alone."""
    return _ByHand.apply(x, network)


def output(network: nn.Sequential, x: Tensor) -> Tensor:
    """Return the network's output for ``x`` without gradient."""
    return Visit(network).forward(x)
