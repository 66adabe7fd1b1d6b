# SPDX-License-Identifier: Apache-2.0
"""How much time passes from one command to the next. No ROS."""

from __future__ import annotations

import math


class Elapsed:
    """Tells time by the stamps of what is observed: simulated time, if there is one.

    Where there are no stamps, and where they are no later than one before, this machine's clock
    tells, and what it has told is taken off when they go on. So no time counts twice, however many
    messages tell of it, in whatever order.
    """

    def __init__(self, longest: float) -> None:
        """``longest`` time in seconds that one command may answer for."""
        self._longest = longest
        self._latest, self._now = 0.0, -math.inf
        self._told = 0.0
        """Seconds after the latest stamp that were told already."""

    def since_last(self, stamp: float, now: float) -> float:
        """Return the seconds since the last call, at most the longest.

        ``stamp`` of what is observed in seconds, 0 for none; ``now`` in seconds, monotonic.
        """
        by_machine = min(now - self._now, self._longest)
        self._now = now
        if stamp <= self._latest:
            self._told += by_machine
            return by_machine
        by_stamps = max(0.0, stamp - self._latest - self._told)
        known, self._latest, self._told = self._latest > 0.0, stamp, 0.0
        return min(by_stamps, self._longest) if known else by_machine
