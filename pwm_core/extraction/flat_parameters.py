# SPDX-License-Identifier: Apache-2.0
"""All parameters of a module as one, for optimisers: an operator each instead of one per tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pwm_core.device import asking_waits


class FlatParameters:
    """``module``'s parameters laid end to end; each goes on seeing its own part."""

    def __init__(self, module: nn.Module) -> None:
        """Move the parameters of ``module``, which must stay on their device from then on."""
        parameters = list(module.parameters())
        self.whole = nn.Parameter(torch.cat([parameter.data.flatten() for parameter in parameters]))
        self.whole.grad = torch.zeros_like(self.whole)
        sizes = [parameter.numel() for parameter in parameters]
        pieces = zip(self.whole.data.split(sizes), self.whole.grad.split(sizes), strict=True)
        self._gradients = []
        for parameter, (values, gradient) in zip(parameters, pieces, strict=True):
            parameter.data = values.view_as(parameter)
            self._gradients.append(gradient.view_as(parameter))

    def follow(self, gradients: Sequence[Tensor]) -> None:
        """Set the gradient of the whole to those of the parameters, in their order."""
        torch._foreach_copy_(self._gradients, list(gradients))

    def clip(self, largest: float) -> None:
        """Scale the gradient down to the norm ``largest`` where it is longer."""
        assert self.whole.grad is not None
        norm = torch.nn.utils.get_total_norm([self.whole.grad])
        if asking_waits(norm) or norm > largest:  # to ask saves a pass over memory
            torch.nn.utils.clip_grads_with_norm_(self.whole, largest, norm)
