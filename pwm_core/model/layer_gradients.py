# SPDX-License-Identifier: Apache-2.0
"""Networks run forward and backward layer by layer by hand: half the time autograd takes.

On a CPU the networks are small and visited thousands of times, so that autograd's bookkeeping and
the many operators it makes of one Mish cost as much as the products, and autograd multiplies by
the slower of two libraries (``model.products``). Here every kind of layer has a :class:`Rule`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pwm_core.model.networks import Mish, SimNorm
from pwm_core.model.products import product

Saved = tuple[Tensor, ...]


class Rule(ABC):
    """A layer's forward and backward pass."""

    @abstractmethod
    def forward(self, layer: Any, x: Tensor) -> tuple[Tensor, Saved]:
        """Return the layer's output for ``x``, and what :meth:`backward` needs of it."""

    @abstractmethod
    def backward(self, layer: Any, saved: Saved, gradient: Tensor) -> Tensor:
        """Return the gradient of ``x`` for that of the output, which stays as it is."""


class LearningRule(Rule):
    """Rule of a layer that has parameters."""

    @abstractmethod
    def parameters(self, layer: Any, x: Tensor, saved: Saved, gradient: Tensor) -> list[Tensor]:
        """Return the gradients of the parameters for inputs ``x [n, in]``, ``gradient [n, out]``.

        ``saved`` is that of all rows.
        """


class LinearRule(LearningRule):
    """``nn.Linear`` on ``[…, in]``; its bias may be ``[tasks, 1, out]``."""

    def forward(self, layer: nn.Linear, x: Tensor) -> tuple[Tensor, Saved]:
        shared = layer.bias.dim() == 1
        y = product(x.flatten(0, -2), layer.weight.mT, layer.bias if shared else None)
        y = y.view(*x.shape[:-1], -1)
        return y if shared else y.add_(layer.bias), ()

    def backward(self, layer: nn.Linear, saved: Saved, gradient: Tensor) -> Tensor:
        x = product(gradient.flatten(0, -2), layer.weight)
        return x.view(*gradient.shape[:-1], -1)

    def parameters(
        self, layer: nn.Linear, x: Tensor, saved: Saved, gradient: Tensor
    ) -> list[Tensor]:
        return [product(gradient.mT, x), gradient.sum(0)]


class NormRule(LearningRule):
    """``nn.LayerNorm``."""

    def forward(self, layer: nn.LayerNorm, x: Tensor) -> tuple[Tensor, Saved]:
        y, mean, scale = torch.native_layer_norm(
            x, layer.normalized_shape, layer.weight, layer.bias, layer.eps
        )
        return y, (x, mean, scale)

    def backward(self, layer: nn.LayerNorm, saved: Saved, gradient: Tensor) -> Tensor:
        x, mean, scale = saved
        shape, wanted = layer.normalized_shape, [True, False, False]
        return torch.ops.aten.native_layer_norm_backward(
            gradient, x, shape, mean, scale, layer.weight, layer.bias, wanted
        )[0]

    def parameters(
        self, layer: nn.LayerNorm, x: Tensor, saved: Saved, gradient: Tensor
    ) -> list[Tensor]:
        _, mean, scale = saved
        shape, wanted = layer.normalized_shape, [False, True, True]
        return list(
            torch.ops.aten.native_layer_norm_backward(
                gradient, x, shape, mean, scale, layer.weight, layer.bias, wanted
            )[1:]
        )


class MishRule(Rule):
    """``x t`` with ``t = tanh(softplus(x)) = p / (2 − p)``, ``p = s (2 − s)``, ``s = sigmoid(x)``.

    Its slope is ``t + x s (1 − t²)``.
    """

    def forward(self, layer: Mish, x: Tensor) -> tuple[Tensor, Saved]:
        s = torch.sigmoid(x)
        p = (2 - s).mul_(s)
        t = p.div_(2 - p)
        return x * t, (x, s, t)

    def backward(self, layer: Mish, saved: Saved, gradient: Tensor) -> Tensor:
        x, s, t = saved
        slope = torch.addcmul(t.new_ones(()), t, t, value=-1).mul_(s)
        return torch.addcmul(t, slope, x, out=slope).mul_(gradient)


class SimNormRule(Rule):
    """:class:`SimNorm`, with the groups along the rows of ``[…, group, groups]``.

    PyTorch's softmax is vectorised there, and ten times as fast as over short last axes.
    """

    def forward(self, layer: SimNorm, x: Tensor) -> tuple[Tensor, Saved]:
        y = torch.softmax(self._across(layer, x).div(layer.temperature), -2)
        return y.mT.flatten(-2), (y,)

    def backward(self, layer: SimNorm, saved: Saved, gradient: Tensor) -> Tensor:
        (y,) = saved
        x = torch._softmax_backward_data(self._across(layer, gradient), y, -2, y.dtype)
        return x.div_(layer.temperature).mT.flatten(-2)

    def _across(self, layer: SimNorm, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, layer.group)).mT.contiguous()


class ReLURule(Rule):
    """``nn.ReLU``."""

    def forward(self, layer: nn.ReLU, x: Tensor) -> tuple[Tensor, Saved]:
        return torch.relu(x), (x,)

    def backward(self, layer: nn.ReLU, saved: Saved, gradient: Tensor) -> Tensor:
        return torch.ops.aten.threshold_backward(gradient, saved[0], 0)


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: LinearRule(),
    nn.LayerNorm: NormRule(),
    Mish: MishRule(),
    SimNorm: SimNormRule(),
    nn.ReLU: ReLURule(),
}
"""Rules of the layers that any network has."""


def known(network: nn.Sequential) -> bool:
    """Return whether every layer has a rule; a spectral one has none."""
    return all(type(layer) in RULES for layer in network)


def learned(network: nn.Sequential, x: Tensor) -> Tensor:
    """Return the network's output for ``x [..., in]``; autograd finds gradients of both."""
    y: Tensor = _Learned.apply(x.flatten(0, -2), network, *network.parameters())
    return y.view(*x.shape[:-1], -1)


def learned_unroll(network: nn.Sequential, z: Tensor, inputs: Tensor) -> Tensor:
    """Return ``[steps, batch, latent]``, each ``network([z, inputs[t]])`` of the ``z`` before.

    Autograd finds gradients of all, those of the network in one product per layer for all steps.
    """
    latents: Tensor = _Unrolled.apply(z, inputs, network, *network.parameters())
    return latents


class _Pass:
    """One way through a network, for rows ``[n, in]``, and back."""

    def __init__(self, network: nn.Sequential) -> None:
        self._network = network
        self._inputs: list[Tensor] = []
        self._saved: list[Saved] = []
        self._gradients: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output."""
        for layer in self._network:
            self._inputs.append(x)
            x, saved = RULES[type(layer)].forward(layer, x)
            self._saved.append(saved)
        return x

    def backward(self, gradient: Tensor, wants_x: bool = True) -> Tensor:
        """Return the gradient of ``x``, of the first layer's output without ``wants_x``."""
        gradients = []
        for place, layer in reversed(list(enumerate(self._network))):
            gradients.append(gradient)
            if place or wants_x:
                gradient = RULES[type(layer)].backward(layer, self._saved[place], gradient)
        self._gradients = gradients[::-1]
        return gradient

    @staticmethod
    def parameters(passes: Sequence[_Pass]) -> list[Tensor]:
        """Return the gradients of the parameters for all passes together."""
        found: list[Tensor] = []
        for place, layer in enumerate(passes[0]._network):
            if isinstance(rule := RULES[type(layer)], LearningRule):
                x = _joined([each._inputs[place] for each in passes])
                gradient = _joined([each._gradients[place] for each in passes])
                saved = tuple(
                    map(_joined, zip(*(each._saved[place] for each in passes), strict=True))
                )
                found += rule.parameters(layer, x, saved, gradient)
        return found


def _joined(rows: Sequence[Tensor]) -> Tensor:
    return rows[0] if len(rows) == 1 else torch.cat(list(rows))


class _Learned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, network: nn.Sequential, *parameters: Tensor) -> Tensor:
        ctx.single = _Pass(network)
        return ctx.single.forward(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        wants_x, _, *wanted = ctx.needs_input_grad
        gradient = ctx.single.backward(outputs[0].contiguous(), wants_x)
        learned = _Pass.parameters([ctx.single]) if any(wanted) else [None] * len(wanted)
        return gradient if wants_x else None, None, *learned


class _Unrolled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, z: Tensor, inputs: Tensor, network: nn.Sequential, *parameters: Tensor
    ) -> Tensor:
        ctx.passes, latents = [], []
        for given in inputs:
            ctx.passes.append(_Pass(network))
            z = ctx.passes[-1].forward(torch.cat([z, given], -1))
            latents.append(z)
        return torch.stack(latents)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        wanted, given = ctx.needs_input_grad[3:], []
        gradient = torch.zeros_like(outputs[0][0])
        for single, output in zip(reversed(ctx.passes), reversed(outputs[0].unbind()), strict=True):
            gradient, step = single.backward(gradient + output).tensor_split(
                [output.shape[-1]], dim=-1
            )
            given.append(step)
        learned = _Pass.parameters(ctx.passes) if any(wanted) else [None] * len(wanted)
        return gradient, torch.stack(given[::-1]), None, *learned
