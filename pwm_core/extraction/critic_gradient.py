# SPDX-License-Identifier: Apache-2.0
"""The critics' loss and its gradient, layer by layer by hand: half the time autograd takes.

Critics are small and updated many times per iteration, so that autograd's bookkeeping, and the
seven nodes it makes of one Mish, cost more than the products.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pwm_core.extraction.actor_critic import Critics, StackedLinear, StackedNorm
from pwm_core.model.networks import Mish

Pull = Callable[[Tensor], Tensor]
"""Takes the gradient of a layer's output, which it may overwrite, to that of its input."""


@torch.no_grad()
def critic_gradient(critics: Critics, z: Tensor, target: Tensor) -> Tensor:
    """Return ``loss.critic_loss`` of ``z [batch, latent]`` and set the parameters' gradients."""
    x = z.expand(critics.members, *z.shape)
    pulls = []
    for layer in critics.network:
        x, pull = _RULES[type(layer)](layer, x)
        pulls.append(pull)
    error = x.squeeze(-1) - target
    gradient = (error * (2 / error.shape[1])).unsqueeze(-1)
    for pull in reversed(pulls[1:]):
        gradient = pull(gradient)
    _linear_parameters(critics.network[0], z.expand(critics.members, *z.shape), gradient)
    return error.square().mean(1).sum()


def _linear_parameters(layer: nn.Module, x: Tensor, gradient: Tensor) -> None:
    layer.get_parameter("weight").grad = torch.bmm(x.mT, gradient)
    layer.get_parameter("bias").grad = gradient.sum(1, keepdim=True)


def _linear(layer: nn.Module, x: Tensor) -> tuple[Tensor, Pull]:
    weight = layer.get_parameter("weight")

    def pull(gradient: Tensor) -> Tensor:
        _linear_parameters(layer, x, gradient)
        return torch.bmm(gradient, weight.mT)

    return layer(x), pull


def _norm(layer: nn.Module, x: Tensor) -> tuple[Tensor, Pull]:
    gain, bias = layer.get_parameter("gain"), layer.get_parameter("bias")
    width = x.shape[-1:]
    normal, mean, scale = torch.native_layer_norm(x, width, None, None, 1e-5)

    def pull(gradient: Tensor) -> Tensor:
        bias.grad = gradient.sum(1, keepdim=True)
        gain.grad = (gradient * normal).sum(1, keepdim=True)
        inner = gradient.mul_(gain)
        wanted = [True, False, False]
        backward = torch.ops.aten.native_layer_norm_backward
        return backward(inner, x, width, mean, scale, None, None, wanted)[0]

    return torch.addcmul(bias, normal, gain), pull


def _mish(_: nn.Module, x: Tensor) -> tuple[Tensor, Pull]:
    """``x t`` with ``t = n / (n + 2)``, ``n = e² + 2e``, ``e = exp x``; see ``networks.Mish``.

    Its slope is ``t + x (1 − t²) e / (1 + e)``.
    """
    e = torch.exp(x.clamp(max=20.0))
    n = torch.addcmul(e, e, e).add_(e)
    t = n.div_(n + 2)
    slope = e.div_(e + 1).mul_(x).mul_(1 - t * t).add_(t)
    return x * t, slope.mul_


_RULES: dict[type[nn.Module], Callable[[nn.Module, Tensor], tuple[Tensor, Pull]]] = {
    StackedLinear: _linear,
    StackedNorm: _norm,
    Mish: _mish,
}
