# SPDX-License-Identifier: Apache-2.0
"""Whether joints go where position commands send them. No ROS."""

from __future__ import annotations

import numpy as np

from pwm_policy.pose import Pose


class Following:
    """Tells of a joint that stays away from its command: it is blocked, too weak or not driven.

    One that is not measured any more counts as away.
    """

    def __init__(self, pose: Pose, limit: float, patience: float) -> None:
        """``limit`` in rad or m; ``patience`` in seconds beyond it."""
        self._pose, self._limit, self._patience = pose, limit, patience
        self.restart(0.0)

    def restart(self, now: float) -> None:
        """Forget what was seen; ``now`` in seconds, monotonic."""
        self._followed = np.full(len(self._pose.joints), now)

    def lost(self, command: np.ndarray, now: float) -> str:
        """Return which joint is away from ``command [A]``, and how far; empty while none is."""
        away = self._pose.away(command, now - self._patience)
        self._followed[away <= self._limit] = now
        lost = np.flatnonzero(now - self._followed > self._patience)
        if not lost.size:
            return ""
        joint, distance = self._pose.joints[lost[0]], away[lost[0]]
        found = f"{distance:.3g} rad or m away" if np.isfinite(distance) else "not measured"
        return (
            f"joint {joint} does not follow its command: {found}, for {self._patience:g} s more "
            f"than max_following_error {self._limit:g}"
        )
