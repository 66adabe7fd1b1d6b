# SPDX-License-Identifier: Apache-2.0
"""Whether joints go where position commands send them. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pwm_policy.pose import Pose


@dataclass(frozen=True)
class Lost:
    """A joint that does not follow."""

    reason: str
    """Which one, and how far it is away."""
    measured: bool
    """Whether it was found away; one that is not measured any more may be anywhere."""


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

    def lost(self, command: np.ndarray, now: float) -> Lost | None:
        """Return the joint that is away from ``command [A]``, rather a measured one; or None."""
        away = self._pose.away(command, now - self._patience)
        self._followed[away <= self._limit] = now
        lost = np.flatnonzero(now - self._followed > self._patience)
        if not lost.size:
            return None
        first = lost[np.argmax(np.isfinite(away[lost]))]
        joint, distance = self._pose.joints[first], away[first]
        measured = bool(np.isfinite(distance))
        found = f"{distance:.3g} rad or m away" if measured else "not measured"
        return Lost(
            f"joint {joint} does not follow its command: {found}, for {self._patience:g} s more "
            f"than max_following_error {self._limit:g}",
            measured,
        )
