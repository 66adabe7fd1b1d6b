# SPDX-License-Identifier: Apache-2.0
"""Scalars as distributions over bins: the reward head's target and its reading."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def symlog(x: Tensor) -> Tensor:
    """Return ``sign(x) · log(1 + |x|)``."""
    return torch.sign(x) * torch.log1p(x.abs())


def symexp(x: Tensor) -> Tensor:
    """Invert :func:`symlog`."""
    return torch.sign(x) * torch.expm1(x.abs())


class TwoHot(nn.Module):
    """Bins over ``[low, high]``, linear or in symlog space; values between two bins are split."""

    centres: Tensor

    def __init__(self, bins: int, low: float, high: float, logarithmic: bool) -> None:
        super().__init__()
        self.outputs, self.logarithmic = bins, logarithmic
        self.register_buffer("centres", torch.linspace(low, high, bins))

    def encode(self, value: Tensor) -> Tensor:
        """Return weights ``[…, bins]`` with two neighbours non-zero for ``value […]``."""
        x = symlog(value) if self.logarithmic else value
        width = self.centres[1] - self.centres[0]
        position = ((x - self.centres[0]) / width).clamp(0, len(self.centres) - 1)
        left = position.floor().clamp(max=len(self.centres) - 2)
        part = (position - left).unsqueeze(-1)
        index = left.long().unsqueeze(-1)
        target = torch.zeros(*value.shape, len(self.centres), device=value.device)
        return target.scatter(-1, index, 1 - part).scatter(-1, index + 1, part)

    def decode(self, logits: Tensor) -> Tensor:
        """Return the expected value ``[…]`` of logits ``[…, bins]`` in the reward's own scale."""
        mean = functional.softmax(logits, dim=-1) @ self.centres
        return symexp(mean) if self.logarithmic else mean

    def loss(self, logits: Tensor, value: Tensor) -> Tensor:
        """Return the cross-entropy ``[…]`` of logits ``[…, bins]`` to the coded ``value […]``."""
        return -(self.encode(value) * functional.log_softmax(logits, dim=-1)).sum(-1)
