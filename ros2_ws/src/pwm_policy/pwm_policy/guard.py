# SPDX-License-Identifier: Apache-2.0
"""Checks on what goes into a policy and what comes out of it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pwm_core.layout import ActionLayout, ObservationLayout


class ObservationGuard:
    """Accepts observations of one layout."""

    def __init__(self, layout: ObservationLayout) -> None:
        self._size, self._hash = layout.size, layout.hash()

    def objection(self, layout_hash: str, data: np.ndarray) -> str:
        """Return why ``data [O]`` must be ignored; empty if it is good."""
        if layout_hash != self._hash:
            return f"layout hash is {layout_hash!r}, the policies expect {self._hash!r}"
        if data.shape != (self._size,):
            return f"{data.size} entries, expected {self._size}"
        if not np.isfinite(data).all():
            return f"entries {np.flatnonzero(~np.isfinite(data)).tolist()} are not finite"
        return ""


class Limited(NamedTuple):
    """A command that may be sent, and what had to be done to it."""

    values: np.ndarray
    """``[A]``, actuator units."""
    clipped: bool
    """Something was outside its limits."""
    slowed: bool
    """Something would have changed faster than its rate."""


class ActionGuard:
    """Keeps commands inside the actuators' limits and rates.

    A rate limits the change from one command to the next to what a control step allows, however
    long it took: after a missed tick nothing leaps to catch up.
    """

    def __init__(self, layout: ActionLayout, control_step: float) -> None:
        """``control_step`` in seconds."""
        channels = layout.channels
        self.rest = np.array([c.safe for c in channels])
        """The safe action ``[A]``."""
        self._low = np.array([c.low for c in channels])
        self._high = np.array([c.high for c in channels])
        self.span = self._high - self._low
        """Widths of the actions' ranges ``[A]``."""
        self._step = np.array([math.inf if c.rate is None else c.rate for c in channels])
        self._step *= control_step
        self._position = np.array([c.interpretation == "position" for c in channels])
        self._safe_step = np.where(self._position, self._step, math.inf)
        # Float noise at a limit is no limited action.
        self._noise = 1e-6 * (1.0 + np.maximum(np.abs(self._low), np.abs(self._high)))

    def limit(self, action: np.ndarray, previous: np.ndarray, part: float = 1.0) -> Limited:
        """Return what may follow ``previous [A]``, as near to ``action [A]`` as possible.

        ``part`` of a control step, above 0 to 1, passes between them.
        """
        inside = self.inside(action)
        values = _within(inside, previous, part * self._step)
        clipped, slowed = (
            bool((np.abs(d) > self._noise).any()) for d in (inside - action, values - inside)
        )
        return Limited(values, clipped, slowed)

    def towards_safe(self, previous: np.ndarray, part: float = 1.0) -> np.ndarray:
        """Return the safe action ``[A]``, at once for efforts and velocities.

        A position with a rate goes there at that rate: a set point that leaps is a hazard itself.
        ``part`` as in :meth:`limit`.
        """
        return _within(self.rest, previous, part * self._safe_step)

    def held(self, values: np.ndarray) -> np.ndarray:
        """Return what keeps positions at ``values [A]``: efforts and velocities go to safe."""
        return np.where(self._position, self.inside(values), self.rest)

    def inside(self, action: np.ndarray) -> np.ndarray:
        """Return what is nearest to ``action [A]`` within the limits."""
        return np.minimum(np.maximum(action, self._low), self._high)

    def steps_to_safe(self, previous: np.ndarray) -> float:
        """Return how many control steps :meth:`towards_safe` takes from ``previous [A]``."""
        return float(np.ceil(np.abs(self.rest - previous) / self._safe_step).max())

    @property
    def longest_way(self) -> float:
        """Return how many control steps the safe action is away from the farthest limit."""
        return max(self.steps_to_safe(self._low), self.steps_to_safe(self._high))


def _within(target: np.ndarray, previous: np.ndarray, step: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(target, previous - step), previous + step)
