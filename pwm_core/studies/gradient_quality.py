# SPDX-License-Identifier: Apache-2.0
"""How good an estimated gradient is, against one that is all but exact."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional


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
