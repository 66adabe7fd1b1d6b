# SPDX-License-Identifier: Apache-2.0
"""Networks of extraction run forward and backward by hand, by ``model.layer_gradients``.

The ensembles' layers have rules of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pwm_core.extraction.actor_critic import StackedLinear, StackedNorm
from pwm_core.model.layer_gradients import (
    NORMS,
    RULES,
    Gradients,
    ProductRule,
    Rule,
    Saved,
    Visit,
    joined,
    settle,
)
from pwm_core.model.products import over_rows, products

__all__ = ["Visit", "frozen", "output", "settle"]


class StackedLinearRule(ProductRule):
    """:class:`StackedLinear`: ``[members, rows, in] -> [members, rows, out]``."""

    def forward(self, layer: StackedLinear, x: Tensor) -> tuple[Tensor, Saved]:
        return products(x, layer.weight, layer.bias), ()

    def backward(
        self, layer: StackedLinear, saved: Saved, gradient: Tensor, learning: bool
    ) -> tuple[Tensor, Gradients]:
        return products(gradient, layer.weight.mT), []

    def parameters(self, x: Sequence[Tensor], gradient: Sequence[Tensor]) -> Gradients:
        rows = joined(gradient, 1)
        return [over_rows(joined(x, 1), rows), rows.sum(1, keepdim=True)]


class StackedNormRule(Rule):
    """:class:`StackedNorm`: ``[members, rows, width]``."""

    def forward(self, layer: StackedNorm, x: Tensor) -> tuple[Tensor, Saved]:
        normal, mean, scale = torch.native_layer_norm(x, x.shape[-1:], None, None, layer.eps)
        return torch.addcmul(layer.bias, normal, layer.gain), (x, normal, mean, scale)

    def backward(
        self, layer: StackedNorm, saved: Saved, gradient: Tensor, learning: bool
    ) -> tuple[Tensor, Gradients]:
        x, normal, mean, scale = saved
        own = []
        if learning:
            own = [part.sum(1, keepdim=True) for part in (gradient * normal, gradient)]
        shape, wanted = x.shape[-1:], [True, False, False]
        before, *_ = torch.ops.aten.native_layer_norm_backward(
            gradient * layer.gain, x, shape, mean, scale, None, None, wanted
        )
        return before, own


RULES.update({StackedLinear: StackedLinearRule(), StackedNorm: StackedNormRule()})
NORMS.add(StackedNorm)


class _ByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, network: nn.Sequential) -> Tensor:
        ctx.visit = Visit(network, learning=False)
        return ctx.visit.forward(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.visit.backward(gradients[0]), None


def frozen(network: nn.Sequential, x: Tensor) -> Tensor:
    """Return the network's output for ``x``; autograd finds the gradient of ``x`` alone."""
    return _ByHand.apply(x, network)


@torch.no_grad()
def output(network: nn.Sequential, x: Tensor) -> Tensor:
    """Return the network's output for ``x`` without gradient."""
    return Visit(network, learning=False).forward(x)
