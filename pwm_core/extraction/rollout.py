# SPDX-License-Identifier: Apache-2.0
"""Actors rolled through a frozen model, forward and backward by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.layer_gradients import Visit
from pwm_core.extraction.stacked_actors import StackedActors


class Rollout:
    """Imagined states and actions of all tasks, and the way back from them to the actors.

    What states and actions are worth is for autograd to say: it finds the gradient of
    :attr:`pair`, and :meth:`backward` takes it from there.
    """

    pair: Tensor
    """``[horizon + 1, tasks, batch, latent + actions]``: states and the actions taken there, padded
    to the model's width with zeros as in training; none is taken in the last state."""

    @torch.no_grad()
    def __init__(
        self,
        model: FrozenModel,
        actors: StackedActors,
        z: Tensor,
        noise: Tensor,
        detach: bool = False,
    ) -> None:
        """Start from ``z [tasks, batch, latent]`` with ``noise [horizon, tasks, batch, A]``.

        With ``detach`` no gradient flows from an action into the latent it was chosen in.
        """
        self._model, self._actors, self._noise, self._detach = model, actors, noise, detach
        latent, scaled = model.latent, actors.sigma() * noise
        pair = z.new_zeros(len(noise) + 1, *z.shape[:-1], latent + model.actions)
        pair[0, ..., :latent] = z
        self._choices = [Visit(actors.network) for _ in noise]
        self._steps = [Visit(model.dynamics, learning=False) for _ in noise]
        for t, (choice, step) in enumerate(zip(self._choices, self._steps, strict=True)):
            mean = choice.forward(pair[t, ..., :latent])
            pair[t, ..., latent : latent + actors.actions] = torch.tanh(mean + scaled[t])
            pair[t + 1, ..., :latent] = step.forward(pair[t])
        self.pair = pair.requires_grad_()

    @property
    def latent(self) -> Tensor:
        """States ``[horizon + 1, tasks, batch, latent]``."""
        return self.pair[..., : self._model.latent]

    def backward(self, objective: Tensor) -> None:
        """Set the gradients of the actors' parameters for a scalar ``objective`` of ``pair``."""
        self._backward(*torch.autograd.grad(objective, [self.pair]))

    @torch.no_grad()
    def _backward(self, gradient: Tensor) -> None:
        latent, actions = self._model.latent, self._actors.actions
        taken = self.pair[..., latent : latent + actions]
        chosen = torch.empty_like(self._noise)
        state = gradient[-1, ..., :latent]
        for t in reversed(range(len(chosen))):
            step = self._steps[t].backward(state).add_(gradient[t])
            state, action = step[..., :latent], step[..., latent : latent + actions]
            chosen[t] = action * (1 - taken[t].square())
            through = t > 0 and not self._detach
            earlier = self._choices[t].backward(chosen[t], inputs=through)
            if through:
                state = state + earlier
        self._actors.settle(self._choices, self._noise, chosen)
