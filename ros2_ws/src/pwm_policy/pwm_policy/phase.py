# SPDX-License-Identifier: Apache-2.0
"""Whether the ticks of a clock have left the phase of the observations they answer. No ROS."""

from __future__ import annotations

import cmath
import math

PHASE = 0.15
"""A clock-triggered tick follows the arrival of observations by this part of a control step."""
NEAR, FAR = 0.05, 0.35
"""Nearer to arrivals than the first some are just missed; after the second their answers are late.
A sensor that paused, or whose clock is another, brings ticks there."""
TICKS = 50
"""Ticks that are judged together."""
SPARE = 2
"""Arrivals that these may have more or less than one each: else there is no phase to keep."""
AGREEMENT = 0.5
"""Length of the mean of the ticks' phases as unit vectors, at least: else they have none."""


class Phase:
    """Judges the time from arrivals to ticks, where there is about one arrival for each."""

    def __init__(self, period: float) -> None:
        """``period`` seconds between ticks."""
        self._period = period
        self._forget()

    def _forget(self) -> None:
        self._ticks, self._arrivals, self._sum = 0, 0, 0j

    def lost(self, arrivals: int, waited: float) -> bool:
        """Note a tick and what came since the one before; whether ticks should move.

        ``waited`` seconds since the last arrival.
        """
        self._ticks += 1
        self._arrivals += arrivals
        self._sum += cmath.exp(2j * math.pi * waited / self._period)
        if self._ticks < TICKS:
            return False
        odd, mean = abs(self._arrivals - TICKS), self._sum / TICKS
        self._forget()
        if odd > SPARE or abs(mean) < AGREEMENT:
            return False
        return not NEAR <= cmath.phase(mean) / (2 * math.pi) % 1.0 <= FAR

    def next_deadline(self, arrived: float, now: float) -> float:
        """Return when to answer, in phase, what follows the observation that ``arrived``.

        Not before ``now``.
        """
        deadline = arrived + (1.0 + PHASE) * self._period
        return deadline + max(0.0, math.ceil((now - deadline) / self._period)) * self._period
