# SPDX-License-Identifier: Apache-2.0
"""A world model that will not change any more, for some of its tasks, made fast.

Task embeddings are constants here and become part of the first layers' biases. Tensors are
``[…, tasks, batch, width]``, so that all tasks share every matrix product.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from pwm_core.errors import PwmError
from pwm_core.extraction.layer_gradients import frozen
from pwm_core.model.networks import SpectralLinear, renormalise
from pwm_core.model.world_model import WorldModel


class FrozenModel:
    """Dynamics, reward and termination of ``model`` for the tasks with the indices ``tasks``.

    A state-action pair is one row ``[latent + actions]``, actions padded to the model's width.
    """

    @torch.no_grad()
    def __init__(
        self, model: WorldModel, tasks: Sequence[int], weights: torch.dtype | None = None
    ) -> None:
        """``weights`` is the precision of the matrix products, the model's own by default."""
        self.latent, self.actions = model.config.latent, model.action_mask.shape[-1]
        embedding = renormalise(model.task_embedding)[list(tasks)]
        pair = self.latent + self.actions
        self.dynamics = folded(model.dynamics, pair, embedding, weights)
        heads = cast(Iterable[nn.Sequential], model.other_dynamics)
        self._others = [folded(head, pair, embedding, weights) for head in heads]
        self._reward = folded(model.reward_head, pair, embedding, weights)
        self._decode = model.two_hot.decode
        self._termination = None
        if model.termination_head is not None:
            self._termination = folded(model.termination_head, self.latent, embedding, weights)

    def reward(self, pair: Tensor) -> Tensor:
        """Return the expected reward ``[…, tasks, batch]`` of ``pair``."""
        return self._decode(frozen(self._reward, pair))

    def continues(self, z: Tensor) -> Tensor:
        """Return the probability ``[…, tasks, batch]`` that the episode goes on in state ``z``."""
        if self._termination is None:
            return z.new_ones(z.shape[:-1])
        return torch.sigmoid(-frozen(self._termination, z).squeeze(-1))

    def disagreement(self, pair: Tensor) -> Tensor:
        """Return ``WorldModel.disagreement`` of ``pair``, ``[…, tasks, batch]``."""
        if not self._others:
            raise PwmError(
                "the world model has one dynamics head, disagreement needs two or more: "
                "pre-train with --dynamics-heads 3"
            )
        latents = torch.stack([frozen(head, pair) for head in (self.dynamics, *self._others)])
        return WorldModel.spread(latents)


def folded(
    network: nn.Sequential, inputs: int, embedding: Tensor, weights: torch.dtype | None = None
) -> nn.Sequential:
    """Return ``network`` without its inputs after the first ``inputs``, which take ``embedding``.

    The first layer's bias becomes ``[tasks, 1, out]``, ``[out]`` for one task. Matrices are kept in
    the precision ``weights`` where it is given.
    """
    first, *rest = (_plain(layer) for layer in network)
    assert isinstance(first, nn.Linear)
    bias = first.bias + embedding @ first.weight[:, inputs:].mT
    layer = nn.utils.skip_init(nn.Linear, inputs, first.out_features)
    layer.weight = nn.Parameter(first.weight[:, :inputs].contiguous(), False)
    layer.bias = nn.Parameter(bias[0] if len(bias) == 1 else bias.unsqueeze(1), False)
    return nn.Sequential(*(_kept_in(weights, each) for each in (layer, *rest)))


def _kept_in(weights: torch.dtype | None, layer: nn.Module) -> nn.Module:
    """Return a Linear layer with its matrix in another precision, others as they are."""
    if weights is None or not isinstance(layer, nn.Linear):
        return layer
    kept = nn.utils.skip_init(nn.Linear, layer.in_features, layer.out_features)
    kept.weight = nn.Parameter(layer.weight.to(weights), False)
    kept.bias = layer.bias
    return kept


def _plain(layer: nn.Module) -> nn.Module:
    """Return a spectral layer as a Linear one, others as they are."""
    if not isinstance(layer, SpectralLinear):
        return layer
    plain = nn.utils.skip_init(nn.Linear, layer.in_features, layer.out_features)
    plain.weight = nn.Parameter(layer.normalised(), False)
    plain.bias = layer.bias
    return plain
