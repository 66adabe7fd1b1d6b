# SPDX-License-Identifier: Apache-2.0
"""All parameters of a module as one, for optimisers: an operator each instead of one per tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FlatParameters:
    """``module``'s parameters laid end to end; each goes on seeing its own part."""

    def __init__(self, module: nn.Module) -> None:
        """Move the parameters of ``module``, which must stay on their device from then on."""
        parameters = list(module.parameters())
        self.whole = nn.Parameter(_joined([parameter.data for parameter in parameters]))
        pieces = self.whole.data.split([parameter.numel() for parameter in parameters])
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.data = piece.view_as(parameter)

    def follow(self, gradients: Sequence[Tensor]) -> None:
        """Set the gradient of the whole to those of the parameters, in their order."""
        self.whole.grad = _joined(gradients)

    def clip(self, largest: float) -> None:
        """Scale the gradient down to the norm ``largest`` where it is longer."""
        assert self.whole.grad is not None
        norm = torch.nn.utils.get_total_norm([self.whole.grad])
        # On a GPU to ask would be to wait; on a CPU it saves a pass over memory.
        if self.whole.is_cuda or norm > largest:
            torch.nn.utils.clip_grads_with_norm_(self.whole, largest, norm)


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
