# SPDX-License-Identifier: Apache-2.0
"""What the actor's loss is divided by, so that one learning rate suits all rewards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor


class Spread(Protocol):
    """A running standard deviation; ``state`` is all that a checkpoint must keep."""

    state: Tensor

    def divisor(self, objective: Tensor) -> Tensor:
        """Return the divisor for an iteration whose rollouts earned ``objective [batch]``."""
        ...

    def observe(self, target: Tensor, first: bool) -> None:
        """Take note of the critics' targets ``[horizon, batch]`` of that iteration."""
        ...


class TargetSpread:
    """Deviation of the critics' targets, averaged over about twenty iterations gone by."""

    def __init__(self, device: torch.device) -> None:
        self.state = torch.ones((), device=device)

    def divisor(self, objective: Tensor) -> Tensor:
        return self.state.clamp(min=1e-3)

    def observe(self, target: Tensor, first: bool) -> None:
        self.state.lerp_(target.std(), 1.0 if first else 0.05)


class ReturnSpread:
    """Deviation of all rollouts' returns since the start, this iteration's included (released).

    ``state`` is mean, variance and count, merged batch by batch (Chan et al., 1979).
    """

    def __init__(self, device: torch.device) -> None:
        self.state = torch.tensor([0.0, 1.0, 1e-4], device=device)

    def divisor(self, objective: Tensor) -> Tensor:
        mean, variance, count = self.state
        new, total = len(objective), count + len(objective)
        delta = objective.mean() - mean
        squares = variance * count + objective.var(correction=0) * new
        squares = squares + delta.square() * count * new / total
        self.state.copy_(torch.stack([mean + delta * new / total, squares / total, total]))
        return (self.state[1] + 1e-5).sqrt()

    def observe(self, target: Tensor, first: bool) -> None:
        """Targets do not enter."""


SPREADS: dict[str, Callable[[torch.device], Spread]] = {
    "targets": TargetSpread,
    "returns": ReturnSpread,
}
"""By the names that the configuration gives them."""
