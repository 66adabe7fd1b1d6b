# SPDX-License-Identifier: Apache-2.0
"""How much of the actor's gradient is noise."""

from __future__ import annotations

import torch
from torch import Tensor

from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.learner import Learner
from pwm_core.extraction.together import Together
from pwm_core.model.world_model import WorldModel

GROUPS = 8
"""Parts of a batch whose gradients are compared to tell signal from noise."""


def gradient_noise(
    model: WorldModel, task: int, learner: Learner, z: Tensor, iteration: int
) -> float:
    """Return the standard error of the actor's gradient over its norm, from ``z [batch, latent]``.

    Near zero all rollouts of a batch agree on the direction; at one it is as long as pure noise
    would be. Estimated from the gradients of up to eight equal parts of the batch, side by side.
    """
    groups = min(GROUPS, len(z))
    used = len(z) - len(z) % groups
    noise = learner.noise(len(z), learner.generator(iteration))[:, :used]
    frozen = FrozenModel(model, [task] * groups)
    together = Together(frozen, [learner.twin() for _ in range(groups)])
    found = together.ascend(z[:used].unflatten(0, (groups, -1)), noise.unflatten(1, (groups, -1)))
    each = torch.stack(found)
    error = (each.var(0).sum() / groups).sqrt()
    return float(error / each.mean(0).norm().clamp(min=1e-12))
