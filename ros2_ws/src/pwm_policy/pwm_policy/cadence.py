# SPDX-License-Identifier: Apache-2.0
"""Which of a sensor's messages are the ones to decide on. No ROS."""

from __future__ import annotations

import math
from dataclasses import dataclass

EARLY = 0.1
"""A message may come this part of a control step before its time, for stamps jitter."""
SILENCE = 1.0
"""Seconds without a message after which stamps may begin anew."""


@dataclass(frozen=True)
class Beat:
    """A message to decide on."""

    repeated: bool
    """Whether it was decided on before, and sent again."""


class Cadence:
    """Picks one message per control step, by stamps: sensors may be many times faster.

    Messages without stamps, or of a simulator's time 0, are picked by their arrival.

    Time that jumps ahead begins a new count. Time that jumps back does so only after a silence, as
    of a clock that was set back: two clocks on one topic would otherwise each set the pace.
    """

    def __init__(self, control_step: float) -> None:
        self._control_step = control_step
        self._last: float | None = None
        self._due = 0.0
        self._newest, self._heard, self._unstamped = 0.0, 0.0, -math.inf

    def objection(self, stamp: float, arrived: float) -> str:
        """Return why a message of ``stamp`` seconds must be ignored; empty if it is good."""
        if stamp < self._newest and arrived - self._heard < SILENCE:
            return f"stamp {stamp:.6f} s is before {self._newest:.6f} s: late, or of another clock"
        return ""

    def hear(self, stamp: float, arrived: float) -> Beat | None:
        """Return what a message of ``stamp`` seconds is; None for one between decisions.

        ``arrived`` in seconds, monotonic. There must be no :meth:`objection` to it.
        """
        self._newest, self._heard = stamp, arrived
        if stamp == 0.0:
            if arrived - self._unstamped < (1 - EARLY) * self._control_step:
                return None
            self._unstamped = arrived
            return Beat(repeated=False)
        if stamp == self._last:
            return Beat(repeated=True)
        early = EARLY * self._control_step
        if self._last is not None and self._last < stamp < self._due - early:
            return None
        late = self._last is None or not -early <= stamp - self._due <= self._control_step
        self._due = (stamp if late else self._due) + self._control_step
        self._last = stamp
        return Beat(repeated=False)
