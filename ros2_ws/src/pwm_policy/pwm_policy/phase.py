# SPDX-License-Identifier: Apache-2.0
"""Whether observations wait too long for the tick of a clock. No ROS."""

from __future__ import annotations

from statistics import median

PHASE = 0.15
"""A clock-triggered tick follows the arrival of observations by this part of a control step."""
FAR = 0.5
"""Observations that wait longer than this part of a control step wait too long: a sensor that
paused, or whose clock is another, has left the phase."""
TICKS = 50
"""Ticks over which they must do so."""


class Phase:
    """Judges the time from an arrival to its tick, over ticks that had one arrival each.

    Faster sensors are near any tick, slower ones near none.
    """

    def __init__(self, period: float) -> None:
        """``period`` seconds between ticks."""
        self._period = period
        self._waited: list[float] = []

    def lost(self, arrivals: int, waited: float) -> bool:
        """Note a tick and what came since the one before; whether ticks should move.

        ``waited`` seconds since the last of the ``arrivals``.
        """
        if arrivals != 1:
            self._waited.clear()
            return False
        self._waited.append(waited)
        if len(self._waited) < TICKS:
            return False
        far = median(self._waited) > FAR * self._period
        self._waited.clear()
        return far

    def next_deadline(self, arrived: float, now: float) -> float:
        """Return the first moment from ``now`` on that follows arrivals like ``arrived``'s."""
        deadline = arrived + PHASE * self._period
        return deadline + max(0.0, -((deadline - now) // self._period)) * self._period
