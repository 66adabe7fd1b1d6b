# SPDX-License-Identifier: Apache-2.0
"""When a world model is too poor to extract a policy from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REWARD_ERROR_LIMIT = 0.06
"""Held-out relative reward error above which every trial's policy exploited its model."""
GAP_LIMIT = 0.25
"""Imagined return above the real one, as a share of the imagined, that counts as exploitation."""


def too_poor(quality: Mapping[str, Any]) -> str | None:
    """Return why the model should not be trusted, or ``None``."""
    error = quality["reward_error"]
    if error <= REWARD_ERROR_LIMIT:
        return None
    return (
        f"held-out relative reward error is {error:.1%}, above {REWARD_ERROR_LIMIT:.0%}: "
        "a policy will exploit the model. Train longer, on more varied data, or with a larger model"
    )


def exploited(training: Mapping[str, Any]) -> str | None:
    """Return how far imagination left reality at the end of extraction, or ``None``."""
    imagined, real = training["imagined_return"], training["real_return"]
    if imagined - real <= GAP_LIMIT * abs(imagined):
        return None
    return f"the policy exploits the world model: imagined return {imagined:.0f}, real {real:.0f}"
