# SPDX-License-Identifier: Apache-2.0
"""Networks that end in a latent, and the choices of what bounds it.

The hidden layers are always Linear → LayerNorm → Mish; the choice is the last layer of encoder and
dynamics (arXiv 2407.02466 compares simnorm, mish and relu):

    simnorm    Linear → LayerNorm → softmax over groups: every group is a point on a simplex
    mish       Linear → LayerNorm → Mish: bounded below by -0.31
    relu       Linear → LayerNorm → ReLU: not negative, half of it zero
    layernorm  Linear → LayerNorm: mean and spread learned, no non-linearity
    spectral   Linear divided by its largest singular value: no LayerNorm, which would undo that
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from pwm_core.model.config import LatentLayerName, WorldModelConfig
from pwm_core.model.networks import Mish, SimNorm, SpectralLinear, mlp


def _normed(inputs: int, outputs: int, *activation: nn.Module) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.LayerNorm(outputs), *activation]


def _simnorm(config: WorldModelConfig, inputs: int, outputs: int) -> list[nn.Module]:
    return _normed(inputs, outputs, SimNorm(config.simnorm_group, config.simnorm_temperature))


LATENT_LAYERS: dict[LatentLayerName, Callable[[WorldModelConfig, int, int], list[nn.Module]]] = {
    "simnorm": _simnorm,
    "mish": lambda _, inputs, outputs: _normed(inputs, outputs, Mish()),
    "relu": lambda _, inputs, outputs: _normed(inputs, outputs, nn.ReLU()),
    "layernorm": lambda _, inputs, outputs: _normed(inputs, outputs),
    "spectral": lambda _, inputs, outputs: [SpectralLinear(inputs, outputs)],
}
"""The last layers ``[inputs] → [outputs]`` by name."""


def build_encoder(config: WorldModelConfig, inputs: int) -> nn.Sequential:
    """Return the encoder of ``inputs`` numbers: observation, and task embedding where it has one.

    Its first layer is linear, so that a constant input can be folded into the bias.
    """
    sizes = [inputs, *[config.encoder_width] * config.encoder_layers, config.latent]
    return mlp(sizes, partial(LATENT_LAYERS[config.latent_layer], config))


def build_dynamics(config: WorldModelConfig, inputs: int) -> nn.Sequential:
    """Return a dynamics network of ``inputs`` numbers: latent, action and task embedding."""
    sizes = [inputs, config.width, config.width, config.latent]
    return mlp(sizes, partial(LATENT_LAYERS[config.latent_layer], config))
