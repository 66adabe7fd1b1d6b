# SPDX-License-Identifier: Apache-2.0
"""What a world model is made of: sizes and the choices a user has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pwm_core.errors import PwmError
from pwm_core.limits import NOT_NEGATIVE, ONE_OR_MORE, POSITIVE

LatentLayerName = Literal["simnorm", "mish", "relu", "layernorm", "spectral"]
"""Last layers of encoder and dynamics; ``model.latents`` says what each does."""
RewardHeadName = Literal["two-hot", "mse"]
"""Reward heads; ``model.reward_codes`` says what each does."""


@dataclass(frozen=True)
class WorldModelConfig:
    """Sizes and choices of a world model."""

    latent: int = 128
    """Width of the latent state z."""
    encoder_layers: int = 1
    """Hidden layers of the encoder."""
    encoder_width: int = 256
    """Width of the encoder's hidden layers."""
    width: int = 256
    """Width of the two hidden layers of dynamics and of reward."""
    task_embedding: int = 16
    """Numbers per task embedding."""
    simnorm_group: int = 8
    """Group size of SimNorm on latents."""
    bins: int = 101
    """Bins of the two-hot reward head."""
    reward_low: float = -10.0
    """Lowest bin (symlog units when ``reward_symlog``)."""
    reward_high: float = 10.0
    """Highest bin (symlog units when ``reward_symlog``)."""
    reward_symlog: bool = True
    """Predict symlog(reward) as published; else the reward itself."""
    termination: bool = False
    """Whether a head predicts that an episode ends in the state reached (episodic tasks)."""
    dynamics_heads: int = 1
    """Dynamics networks; the first is the model's, the others only measure disagreement."""
    latent_layer: LatentLayerName = "simnorm"
    """Last layer of encoder and dynamics."""
    simnorm_temperature: float = 1.0
    """Temperature of SimNorm's softmax: lower is closer to one-hot groups."""
    reward_head: RewardHeadName = "two-hot"
    """Reward as a distribution over bins, or as one number by least squares."""

    def __post_init__(self) -> None:
        _require_known("latent_layer", self.latent_layer, get_args(LatentLayerName))
        _require_known("reward_head", self.reward_head, get_args(RewardHeadName))
        ONE_OR_MORE.require(self, "latent", "encoder_layers", "encoder_width", "width")
        ONE_OR_MORE.require(self, "simnorm_group", "dynamics_heads")
        NOT_NEGATIVE.require(self, "task_embedding")
        POSITIVE.require(self, "simnorm_temperature")
        if self.latent_layer == "simnorm" and self.latent % self.simnorm_group:
            raise PwmError(
                f"latent {self.latent} is no multiple of simnorm_group {self.simnorm_group}"
            )
        if self.bins < 2 or not self.reward_low < self.reward_high:
            raise PwmError(
                f"{self.bins} reward bins from {self.reward_low} to {self.reward_high}: "
                "expected two or more, the lowest below the highest"
            )


def _require_known(field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise PwmError(f"{field} is {value!r}, expected one of {', '.join(known)}")


SIZES: dict[str, WorldModelConfig] = {
    "tiny": WorldModelConfig(),
    "1M": WorldModelConfig(128, 1, 256, 384, 96),
    "5M": WorldModelConfig(512, 1, 256, 512, 96),
    "19M": WorldModelConfig(768, 2, 1024, 1024, 96),
    "48M": WorldModelConfig(768, 3, 1792, 1792, 96),
    "317M": WorldModelConfig(1376, 4, 4096, 4096, 96),
}
"""Sizes by TD-MPC2's names (which also counted policy and Q functions); ``tiny`` for a laptop."""
