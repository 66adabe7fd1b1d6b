# SPDX-License-Identifier: Apache-2.0
"""Keeping simulated time beside the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pacer:
    """Absolute deadlines that keep their phase.

    After a stall the missed time is made up at once if it is short; of a long one whole ``grid``
    periods are dropped, so that deadlines stay where a listener expects them.
    """

    def __init__(
        self, catch_up_limit: float = 0.1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._limit = catch_up_limit
        self._deadline: float | None = None
        self._idle = False
        self.dropped = 0.0
        """Seconds of wall time given up so far."""

    def restart(self) -> None:
        """Forget the phase: the next deadline counts from now."""
        self._deadline = None

    def idle(self) -> None:
        """Say that time stood still on purpose: it will be skipped, not caught up or counted."""
        self._idle = True

    def delay(self, period: float, grid: float) -> float:
        """Move to the next deadline, ``period`` seconds on; return the seconds until it, >= 0."""
        now = self._clock()
        if self._deadline is None:
            self._deadline = now
        self._deadline += period
        behind = now - self._deadline
        if self._idle or behind > self._limit:
            skipped = grid * max(0.0, behind // grid)
            self._deadline += skipped
            self.dropped += 0.0 if self._idle else skipped
        self._idle = False
        return max(0.0, self._deadline - now)


class RealTimeFactor:
    """Simulated seconds per wall second since the last reading."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: tuple[float, float] | None = None

    def read(self, simulated: float) -> float:
        """Return the factor since the previous call; 0 at the first."""
        last, self._last = self._last, (simulated, self._clock())
        if last is None or self._last[1] <= last[1]:
            return 0.0
        return (simulated - last[0]) / (self._last[1] - last[1])
