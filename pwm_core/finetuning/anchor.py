# SPDX-License-Identifier: Apache-2.0
"""A learner whose actor stays near the one that it began with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pwm_core.extraction.learner import Learner


class AnchoredLearner(Learner):
    """Pays for the change of its actions where the robot has been.

    Where the model is wrong an actor that is free to change finds out first: imagined returns rise
    and real ones fall. ``penalty`` is taken off the objective per squared change of an action.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._penalty = 0.0

    @torch.no_grad()
    def anchor(self, z: Tensor, penalty: float) -> None:
        """Remember what the present actor does in ``z [N, latent]``."""
        self._penalty, self._latent, self._action = penalty, z, self.actor(z)

    def squared_change(self) -> Tensor:
        """Return the mean squared change of actions, a scalar."""
        return (self.actor(self._latent) - self._action).square().mean()

    def step_actor(self) -> Tensor:
        if self._penalty:
            (self._penalty * self.squared_change()).backward()  # added to what imagination gave
        return super().step_actor()
