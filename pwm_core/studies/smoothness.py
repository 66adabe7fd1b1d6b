# SPDX-License-Identifier: Apache-2.0
"""How smooth what an actor climbs is along a line: Lipschitz constants of it and its gradient.

Constants of a whole landscape are out of reach; the largest found on a line is a bound from below.
After Santurkar et al., 2018, "How does batch normalization help optimization?", section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.learner import Learner
from pwm_core.studies.gradient_quality import Rollouts, first_order

Gradient = Callable[[Tensor], Tensor]
"""The gradient ``[parameters]`` of an objective at ``[parameters]``, the same at every call."""


@dataclass(frozen=True)
class Smoothness:
    """Of an objective J at equally distant places of a line; distance is that of parameters."""

    slope: float
    """Lipschitz constant of J along the line: the largest |dJ/ds| at a place, in units of J per
    distance."""
    bend: float
    """Lipschitz constant of the gradient, ``|∇J(s + h) − ∇J(s)| / h`` of the neighbours that differ
    most, over the mean length of the gradients: per distance. Its inverse is how far the gradient
    may be followed before it is another one; the scale of J does not matter."""


def smoothness(gradient: Gradient, begin: Tensor, direction: Tensor, places: Tensor) -> Smoothness:
    """Return the smoothness from ``begin [parameters]`` along ``direction [parameters]``.

    ``places [n]`` are ascending and equally distant.
    """
    along = direction / direction.norm()
    found = torch.stack([gradient(begin + place * along) for place in places])
    changes = found.diff(dim=0).norm(dim=1) / places.diff()
    length = found.norm(dim=1).mean()
    return Smoothness(float((found @ along).abs().max()), float(changes.max() / length))


def actor_parameters(learner: Learner) -> Tensor:
    """Return the actor's ``[parameters]``."""
    return parameters_to_vector(learner.actor.parameters()).detach()


def actor_landscape(model: FrozenModel, learner: Learner, rollouts: Rollouts) -> Gradient:
    """Return the mean gradient of the imagined objective over ``rollouts``, whatever the actor.

    Start states and noise are the same everywhere, and so are the critics: that is the landscape.
    """
    samples = list(rollouts)

    def gradient(parameters: Tensor) -> Tensor:
        moved = learner.twin()
        vector_to_parameters(parameters, moved.actor.parameters())
        return first_order(model, moved, samples).mean(0)

    return gradient
