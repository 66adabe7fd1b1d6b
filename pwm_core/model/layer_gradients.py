# SPDX-License-Identifier: Apache-2.0
"""Networks run forward and backward layer by layer by hand: half the time autograd takes.

On a CPU the networks are small and visited thousands of times, so that autograd's bookkeeping and
the many operators it makes of one Mish cost as much as the products, and autograd multiplies by
the slower of two libraries (``model.products``). Here every kind of layer has a :class:`Rule`, and
a LayerNorm is one with the activation after it (``model.kernels``).

A :class:`Visit` remembers what the way back needs. Gradients of weights are taken only where
:func:`settle` asks for them: never for a frozen network, and in one product per layer for a network
that was visited at every step of a window or a rollout.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pwm_core.model import compiled_norms, kernels
from pwm_core.model.networks import Mish, SimNorm
from pwm_core.model.products import over_rows, product

Saved = tuple[Any, ...]
Gradients = list[Tensor]


class Rule(ABC):
    """A layer's forward and backward pass."""

    @abstractmethod
    def forward(self, layer: Any, x: Tensor) -> tuple[Tensor, Saved]:
        """Return the layer's output for ``x``, and what :meth:`backward` needs of it."""

    @abstractmethod
    def backward(
        self, layer: Any, saved: Saved, gradient: Tensor, learning: bool
    ) -> tuple[Tensor, Gradients]:
        """Return the gradient of ``x`` for that of the output, which stays as it is.

        And those of the parameters where they are sums over rows, if ``learning``; none of a
        :class:`ProductRule`.
        """


class ProductRule(Rule):
    """Rule of a layer that multiplies by a weight, whose gradient is a product of all rows."""

    @abstractmethod
    def parameters(self, x: Sequence[Tensor], gradient: Sequence[Tensor]) -> Gradients:
        """Return the gradients of weight and bias for inputs and gradients of several visits."""


class LinearRule(ProductRule):
    """``nn.Linear`` on ``[…, in]``; a bias ``[tasks, 1, out]`` has no gradient."""

    def forward(self, layer: nn.Linear, x: Tensor) -> tuple[Tensor, Saved]:
        shared = layer.bias.dim() == 1
        y = product(x.flatten(0, -2), layer.weight.mT, layer.bias if shared else None)
        y = y.view(*x.shape[:-1], -1)
        return y if shared else y.add_(layer.bias), ()

    def backward(
        self, layer: nn.Linear, saved: Saved, gradient: Tensor, learning: bool
    ) -> tuple[Tensor, Gradients]:
        x = product(gradient.flatten(0, -2), layer.weight)
        return x.view(*gradient.shape[:-1], -1), []

    def parameters(self, x: Sequence[Tensor], gradient: Sequence[Tensor]) -> Gradients:
        rows = joined(gradient, 0)
        return [over_rows(rows, joined(x, 0)), rows.sum(0)]


class NormRule(Rule):
    """``nn.LayerNorm``."""

    def forward(self, layer: nn.LayerNorm, x: Tensor) -> tuple[Tensor, Saved]:
        y, mean, scale = torch.native_layer_norm(
            x, layer.normalized_shape, layer.weight, layer.bias, layer.eps
        )
        return y, (x, mean, scale)

    def backward(
        self, layer: nn.LayerNorm, saved: Saved, gradient: Tensor, learning: bool
    ) -> tuple[Tensor, Gradients]:
        shape, wanted = layer.normalized_shape, [True, learning, learning]
        x, *own = torch.ops.aten.native_layer_norm_backward(
            gradient, saved[0], shape, saved[1], saved[2], layer.weight, layer.bias, wanted
        )
        return x, own


class MishRule(Rule):
    """``x t`` with ``t = tanh(softplus(x)) = p / (2 − p)``, ``p = s (2 − s)``, ``s = sigmoid(x)``.

    Its slope is ``t + x s (1 − t²)``.
    """

    def forward(self, layer: Mish, x: Tensor) -> tuple[Tensor, Saved]:
        s = torch.sigmoid(x)
        p = (2 - s).mul_(s)
        t = p.div_(2 - p)
        return x * t, (x, s, t)

    def backward(
        self, layer: Mish, saved: Saved, gradient: Tensor, learning: bool
    ) -> tuple[Tensor, Gradients]:
        x, s, t = saved
        slope = torch.addcmul(t.new_ones(()), t, t, value=-1).mul_(s)
        return torch.addcmul(t, slope, x, out=slope).mul_(gradient), []


class SimNormRule(Rule):
    """:class:`SimNorm`, with the groups along the rows of ``[…, group, groups]``.

    PyTorch's softmax is vectorised there, and ten times as fast as over short last axes.
    """

    def forward(self, layer: SimNorm, x: Tensor) -> tuple[Tensor, Saved]:
        y = torch.softmax(self._across(layer, x).div(layer.temperature), -2)
        return y.mT.flatten(-2), (y,)

    def backward(
        self, layer: SimNorm, saved: Saved, gradient: Tensor, learning: bool
    ) -> tuple[Tensor, Gradients]:
        (y,) = saved
        x = torch._softmax_backward_data(self._across(layer, gradient), y, -2, y.dtype)
        return x.div_(layer.temperature).mT.flatten(-2), []

    def _across(self, layer: SimNorm, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, layer.group)).mT.contiguous()


class ReLURule(Rule):
    """``nn.ReLU``."""

    def forward(self, layer: nn.ReLU, x: Tensor) -> tuple[Tensor, Saved]:
        return torch.relu(x), (x,)

    def backward(
        self, layer: nn.ReLU, saved: Saved, gradient: Tensor, learning: bool
    ) -> tuple[Tensor, Gradients]:
        return torch.ops.aten.threshold_backward(gradient, saved[0], 0), []


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: LinearRule(),
    nn.LayerNorm: NormRule(),
    Mish: MishRule(),
    SimNorm: SimNormRule(),
    nn.ReLU: ReLURule(),
}
"""Rules by kind of layer; extraction adds those of its ensembles."""


class FusedRule(Rule):
    """A norm and the :class:`Mish` or :class:`SimNorm` after it, ``layer`` is the two of them.

    In one pass over memory where ``model.kernels`` or ``model.compiled_norms`` can, else one after
    the other.
    """

    def forward(self, layer: tuple[Any, Any], x: Tensor) -> tuple[Tensor, Saved]:
        norm, then = layer
        if compiled_norms.usable(x):
            return compiled_norms.forward(norm, then, x)
        if not kernels.usable(x):
            normal, first = RULES[type(norm)].forward(norm, x)
            y, second = RULES[type(then)].forward(then, normal)
            return y, (first, second)
        own = norm.weight, norm.bias, norm.eps
        if isinstance(then, Mish):
            y, kept = kernels.norm_mish(x, *own)
            return y, (kept,)
        y, kept = kernels.norm_simnorm(x, *own, then.group, then.temperature)
        return y, (kept, y)

    def backward(
        self, layer: tuple[Any, Any], saved: Saved, gradient: Tensor, learning: bool
    ) -> tuple[Tensor, Gradients]:
        norm, then = layer
        if compiled_norms.usable(gradient):
            return compiled_norms.backward(norm, then, saved, gradient, learning)
        if not kernels.usable(gradient):
            gradient, _ = RULES[type(then)].backward(then, saved[1], gradient, learning)
            return RULES[type(norm)].backward(norm, saved[0], gradient, learning)
        if isinstance(then, Mish):
            return kernels.norm_mish_back(saved[0], norm.weight, norm.bias, gradient)
        kept, y = saved
        grouping = then.group, then.temperature
        return kernels.norm_simnorm_back(kept, y, norm.weight, *grouping, gradient)


FUSED = FusedRule()
NORMS: set[type[nn.Module]] = {nn.LayerNorm}
"""Norms over the last axis with ``weight``, ``bias`` and ``eps``."""


def known(network: nn.Sequential) -> bool:
    """Return whether every layer has a rule; a spectral one has none."""
    return all(type(layer) in RULES for layer in network)


Stages = list[tuple[Rule, Any]]
_STAGES: WeakKeyDictionary[nn.Sequential, Stages] = WeakKeyDictionary()


def _stages(network: nn.Sequential) -> Stages:
    """Return :func:`_paired` layers, looked up once where no compiler looks on.

    Compiled code would depend on all networks that there are.
    """
    if torch.compiler.is_compiling():
        return _paired(network)
    if network not in _STAGES:
        _STAGES[network] = _paired(network)
    return _STAGES[network]


def _paired(network: nn.Sequential) -> Stages:
    """Return the layers with their rules, a norm and the activation after it as one."""
    stages: Stages = []
    for layer in network:
        before = stages[-1][1] if stages else None
        if type(before) in NORMS and isinstance(layer, Mish | SimNorm):
            stages[-1] = FUSED, (before, layer)
        else:
            stages.append((RULES[type(layer)], layer))
    return stages


class Visit:
    """One pass through the layers of a network, of which the first is linear, and back.

    To be used where autograd does not look on.
    """

    def __init__(self, network: nn.Sequential, learning: bool = True) -> None:
        """Only a visit that is ``learning`` can be settled."""
        self._stages, self._learning = _stages(network), learning
        self._inputs: list[Tensor] = []
        self._saved: list[Saved] = []
        self._gradients: list[Tensor] = []
        self._sums: list[Gradients] = []

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output for ``x``."""
        for rule, layer in self._stages:
            self._inputs.append(x)
            x, saved = rule.forward(layer, x)
            self._saved.append(saved)
        return x

    def backward(self, gradient: Tensor, inputs: bool = True) -> Tensor:
        """Return the gradient of the input for that of the output.

        Without ``inputs`` that of the first layer's output, which is all that :func:`settle` needs.
        """
        gradients, sums = [], []
        for place, (rule, layer) in reversed(list(enumerate(self._stages))):
            own: Gradients = []
            gradients.append(gradient)
            if place or inputs:
                gradient, own = rule.backward(layer, self._saved[place], gradient, self._learning)
            sums.append(own)
        self._gradients, self._sums = gradients[::-1], sums[::-1]
        return gradient

    @staticmethod
    def settle(visits: Sequence[Visit]) -> Gradients:
        """Return the gradients of the network's parameters, in order, for all ``visits`` of it."""
        found: Gradients = []
        for place, (rule, _) in enumerate(visits[0]._stages):
            if isinstance(rule, ProductRule):
                inputs = [visit._inputs[place] for visit in visits]
                found += rule.parameters(inputs, [visit._gradients[place] for visit in visits])
            else:
                columns = zip(*(visit._sums[place] for visit in visits), strict=True)
                found += [_total(column) for column in columns]
        return found


settle = Visit.settle


def joined(rows: Sequence[Tensor], axis: int) -> Tensor:
    """Return the rows of all tensors along ``axis``."""
    return rows[0] if len(rows) == 1 else torch.cat(list(rows), axis)


def _total(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(list(parts)).sum(0)


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


class _Learned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, network: nn.Sequential, *parameters: Tensor) -> Tensor:
        ctx.visit = Visit(network)
        return ctx.visit.forward(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        wants_x, _, *wanted = ctx.needs_input_grad
        gradient = ctx.visit.backward(outputs[0].contiguous(), wants_x)
        learned = settle([ctx.visit]) if any(wanted) else [None] * len(wanted)
        return gradient if wants_x else None, None, *learned


class _Unrolled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, z: Tensor, inputs: Tensor, network: nn.Sequential, *parameters: Tensor
    ) -> Tensor:
        ctx.visits, latents = [], []
        for given in inputs:
            ctx.visits.append(Visit(network))
            z = ctx.visits[-1].forward(torch.cat([z, given], -1))
            latents.append(z)
        return torch.stack(latents)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        wanted, given = ctx.needs_input_grad[3:], []
        gradient = torch.zeros_like(outputs[0][0])
        for visit, output in zip(reversed(ctx.visits), reversed(outputs[0].unbind()), strict=True):
            gradient, step = visit.backward(gradient + output).tensor_split(
                [output.shape[-1]], dim=-1
            )
            given.append(step)
        learned = settle(ctx.visits) if any(wanted) else [None] * len(wanted)
        return gradient, torch.stack(given[::-1]), None, *learned
