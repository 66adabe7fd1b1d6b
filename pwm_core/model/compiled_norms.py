# SPDX-License-Identifier: Apache-2.0
"""LayerNorm with the Mish or SimNorm after it on a GPU, fused by ``torch.compile``.

Operator by operator they are a dozen passes over memory, each a kernel to start; compiled they are
one or two, as ``model.kernels`` makes them on a CPU. ``PWM_KERNELS=0`` does without.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from functools import cache, partial, wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from pwm_core.model.networks import Mish

Saved = tuple[Any, ...]


Function = TypeVar("Function", bound=Callable[..., Any])


def _compiled(function: Function) -> Function:
    """Return ``function``, compiled at its first call: to load the compiler takes seconds."""
    whole = cache(partial(torch.compile, function, dynamic=True))
    return cast(Function, wraps(function)(lambda *given: whole()(*given)))


def usable(x: Tensor) -> bool:
    """Return whether these functions can take ``x``: on a GPU that ``torch.compile`` is ready for.

    Not within other compiled code, which fuses by itself.
    """
    return x.is_cuda and not torch.compiler.is_compiling() and _ready()


@cache
def _ready() -> bool:
    """Return whether Triton, and the C compiler it needs, are there."""
    wanted = os.environ.get("PWM_KERNELS") != "0"
    compiler = any(map(shutil.which, ("cc", "gcc", "clang")))
    return wanted and compiler and importlib.util.find_spec("triton") is not None


def forward(norm: Any, then: Any, x: Tensor) -> tuple[Tensor, Saved]:
    """Return ``then(norm(x))`` and what :func:`backward` needs of it.

    ``norm`` has ``weight``, ``bias`` (``[width]`` or ``[blocks, 1, width]``) and ``eps``, ``then``
    is a Mish or a SimNorm.
    """
    gain, bias, rows = norm.weight.detach(), norm.bias.detach(), _rows(norm, x)
    if isinstance(then, Mish):
        y, *moments = _norm_mish(rows, gain, bias, norm.eps)
    else:
        y, *moments = _norm_simnorm(rows, gain, bias, norm.eps, then.group, then.temperature)
    return y.view(x.shape), (rows, *moments, y)


def backward(
    norm: Any, then: Any, saved: Saved, given: Tensor, learning: bool
) -> tuple[Tensor, list[Tensor]]:
    """Return the gradient of ``x`` for ``given``, that of the output.

    And those of the norm's weight and bias where it is ``learning``.
    """
    x, mean, scale, y = saved
    gain, bias, rows = norm.weight.detach(), norm.bias.detach(), _rows(norm, given)
    if isinstance(then, Mish):
        found = _norm_mish_back(x, mean, scale, gain, bias, rows)
    else:
        found = _norm_simnorm_back(x, mean, scale, y, gain, then.group, then.temperature, rows)
    gradient, normal, back = found
    own = list(_sums(gradient, normal)) if learning else []
    return back.view(given.shape), [each.view(gain.shape) for each in own]


def _rows(norm: Any, x: Tensor) -> Tensor:
    """Return ``x`` as ``[rows, width]``, ``[blocks, rows, width]`` where the norm has blocks.

    So that what is compiled is compiled for two shapes and not for all.
    """
    return x if norm.weight.dim() == 3 else x.flatten(0, -2)


@_compiled
def _norm_mish(
    x: Tensor, gain: Tensor, bias: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    mean, scale = _moments(x, epsilon)
    v = (x - mean) * scale * gain + bias
    return v * _tanh_softplus(torch.sigmoid(v)), mean, scale


@_compiled
def _norm_mish_back(
    x: Tensor, mean: Tensor, scale: Tensor, gain: Tensor, bias: Tensor, given: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    normal = (x - mean) * scale
    v = normal * gain + bias
    s = torch.sigmoid(v)
    t = _tanh_softplus(s)
    gradient = given * (t + v * s * (1 - t * t))
    return gradient, normal, _through_norm(gradient * gain, normal, scale)


@_compiled
def _norm_simnorm(
    x: Tensor, gain: Tensor, bias: Tensor, epsilon: float, group: int, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    mean, scale = _moments(x, epsilon)
    v = ((x - mean) * scale * gain + bias).unflatten(-1, (-1, group)) / temperature
    return torch.softmax(v, -1).flatten(-2), mean, scale


@_compiled
def _norm_simnorm_back(
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    y: Tensor,
    gain: Tensor,
    group: int,
    temperature: float,
    given: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    share, wanted = y.unflatten(-1, (-1, group)), given.unflatten(-1, (-1, group))
    inner = (share * wanted).sum(-1, keepdim=True)
    gradient = (share * (wanted - inner) / temperature).flatten(-2)
    normal = (x - mean) * scale
    return gradient, normal, _through_norm(gradient * gain, normal, scale)


@_compiled
def _sums(gradient: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of gain and bias."""
    return (gradient * normal).sum(-2), gradient.sum(-2)


def _moments(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return mean and 1 / deviation of each row."""
    mean = x.mean(-1, keepdim=True)
    return mean, torch.rsqrt((x - mean).square().mean(-1, keepdim=True) + epsilon)


def _tanh_softplus(s: Tensor) -> Tensor:
    """Return ``tanh(softplus(v))`` by ``s = sigmoid(v)``."""
    p = s * (2 - s)
    return p / (2 - p)


def _through_norm(gradient: Tensor, normal: Tensor, scale: Tensor) -> Tensor:
    """Return the gradient of a norm's input for that of ``normal``, what it gave."""
    along = (gradient * normal).mean(-1, keepdim=True)
    return scale * (gradient - gradient.mean(-1, keepdim=True) - normal * along)
