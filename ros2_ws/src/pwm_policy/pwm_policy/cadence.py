# SPDX-License-Identifier: Apache-2.0
"""Which of a sensor's messages are the ones to decide on. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

EARLY = 0.1
"""A message may come this part of a control step before its time, for stamps jitter."""


@dataclass(frozen=True)
class Beat:
    """A message to decide on."""

    repeated: bool
    """Whether it was decided on before, and sent again."""


class Cadence:
    """Picks one message per control step, by stamps: sensors may be many times faster.

    Messages without stamps are all picked. Time that jumps begins a new count.
    """

    def __init__(self, control_step: float) -> None:
        self._control_step = control_step
        self._last: float | None = None
        self._due = 0.0

    def hear(self, stamp: float) -> Beat | None:
        """Return what a message of ``stamp`` seconds is; None for one between decisions."""
        if stamp == 0.0:
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
