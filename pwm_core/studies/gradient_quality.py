# SPDX-License-Identifier: Apache-2.0
"""An actor's gradients by both methods, and how good they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.learner import Learner
from pwm_core.extraction.together import Together
from pwm_core.studies.score_function import ScoreFunction

Rollouts = Iterable[tuple[Tensor, Tensor]]
"""Batches of states ``[batch, latent]`` to begin with and of noise ``[horizon, batch, A]``."""


def first_order(model: FrozenModel, learner: Learner, rollouts: Rollouts) -> Tensor:
    """Return the gradient ``[batches, parameters]`` through ``model`` of each of ``rollouts``."""
    together = Together(model, [learner.twin()])
    return torch.stack([together.ascend(z[None], noise[:, None])[0] for z, noise in rollouts])


def score_function(model: FrozenModel, learner: Learner, rollouts: Rollouts) -> Tensor:
    """Return the score function's gradient ``[batches, parameters]`` of each of ``rollouts``."""
    method = ScoreFunction(model, learner.twin())
    return torch.stack([method.ascend(z, noise) for z, noise in rollouts])


@dataclass(frozen=True)
class GradientQuality:
    """Of the gradient of a batch."""

    cosine: float
    """Mean cosine between a batch's gradient and the true one."""
    signal_to_noise: float
    """Squared length of the true gradient over the mean squared distance to it."""


def gradient_quality(estimates: Tensor, truth: Tensor) -> GradientQuality:
    """Judge ``estimates [batches, parameters]`` by ``truth [parameters]``."""
    cosine = functional.cosine_similarity(estimates, truth[None], dim=1).mean()
    noise = (estimates - truth).square().sum(1).mean()
    return GradientQuality(float(cosine), float(truth.square().sum() / noise))


def own_quality(estimates: Tensor) -> tuple[float, float]:
    """Return (squared noise, signal to noise) of ``estimates [batches, parameters]`` alone.

    The noise is the sum of variances; the signal is the squared mean, less what noise adds to it.
    """
    noise = float(estimates.var(0).sum())
    signal = float(estimates.mean(0).square().sum()) - noise / len(estimates)
    return noise, max(signal, 0.0) / noise if noise > 0 else float("inf")
