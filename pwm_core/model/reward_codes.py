# SPDX-License-Identifier: Apache-2.0
"""How the reward head's outputs stand for a reward: a distribution over bins, or one number."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from pwm_core.model.config import RewardHeadName, WorldModelConfig
from pwm_core.model.two_hot import TwoHot, symexp, symlog


class Regression(nn.Module):
    """One number by least squares, in symlog space or in the reward's own."""

    outputs = 1

    def __init__(self, logarithmic: bool) -> None:
        super().__init__()
        self.logarithmic = logarithmic

    def decode(self, logits: Tensor) -> Tensor:
        """Return rewards ``[…]`` of ``logits [..., 1]``."""
        return symexp(logits.squeeze(-1)) if self.logarithmic else logits.squeeze(-1)

    def loss(self, logits: Tensor, value: Tensor) -> Tensor:
        """Return the squared error ``[…]``, between symlogs when logarithmic."""
        target = symlog(value) if self.logarithmic else value
        return (logits.squeeze(-1) - target).square()


RewardCode = TwoHot | Regression

REWARD_CODES: dict[RewardHeadName, Callable[[WorldModelConfig], RewardCode]] = {
    "two-hot": lambda config: TwoHot(
        config.bins, config.reward_low, config.reward_high, config.reward_symlog
    ),
    "mse": lambda config: Regression(config.reward_symlog),
}
"""Reward codes by the name of the head."""
