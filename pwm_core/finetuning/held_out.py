# SPDX-License-Identifier: Apache-2.0
"""How much held-out data the gate needs, to tell a worse model from an unlucky one."""

from __future__ import annotations

from pwm_core.data.episodes import EpisodeTable

LEAST_WINDOWS = 10
"""Held-out online windows, side by side. Of ten, two standard errors mean that one in 26 models
that are as good is refused (Student), of three one in eleven, and of one the error is unknown."""


def side_by_side(episodes: EpisodeTable, horizon: int) -> int:
    """Return how many windows of ``horizon`` decisions fit into the episodes without overlap."""
    return int((episodes.length // horizon).sum())


def lack_of_windows(episodes: EpisodeTable, horizon: int) -> str:
    """Return why the gate cannot judge by these held-out episodes; empty if it can."""
    found = side_by_side(episodes, horizon)
    if found >= LEAST_WINDOWS:
        return ""
    return (
        f"{found} windows of {horizon} decisions fit side by side into the held-out episodes, the "
        f"gate judges by {LEAST_WINDOWS} or more"
    )
