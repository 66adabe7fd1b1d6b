# SPDX-License-Identifier: Apache-2.0
"""Which policy acts: swapped by one reference assignment between two ticks."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pwm_export.bundle import Bundle


@dataclass(frozen=True)
class ActivePolicy:
    """A policy in its slot. Never changed, only replaced."""

    name: str
    bundle: Bundle
    epoch: int
    requested: float
    """When the swap was requested, seconds monotonic."""
    blend_from: Bundle | np.ndarray | None = None
    """What acted before: a policy, or the last command ``[A]`` of a blend that was cut short."""
    blend_seconds: float = 0.0

    def act(self, observation: np.ndarray, now: float) -> np.ndarray:
        """Return the action ``[A]`` for ``[O]``; just after a swap, blended with the old one.

        An old policy that has no finite action any more has no part in it.
        """
        action = self.bundle.act(observation)
        if self.blend_from is None or not self.blending(now):
            return action
        old = self.blend_from
        if isinstance(old, Bundle):
            old = old.act(observation)
        if not np.isfinite(old).all():
            return action
        weight = max(0.0, now - self.requested) / self.blend_seconds
        return weight * action + (1.0 - weight) * old

    def blending(self, now: float) -> bool:
        """Whether the policy does not act alone yet."""
        return self.blend_from is not None and now - self.requested < self.blend_seconds


class PolicySlot:
    """The active policy, the one before it, and how fast the last swap was.

    The control loop reads ``active`` once per tick; services write from another thread.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._epoch = 0
        self._unanswered: int | None = None
        self._last: np.ndarray | None = None
        self.active: ActivePolicy | None = None
        self.previous: ActivePolicy | None = None
        self.swap_latency = math.nan
        """Seconds from the request of the last swap to its first action; NaN until known."""

    @property
    def acting(self) -> ActivePolicy:
        """The active policy of a slot that is known to be filled."""
        assert self.active is not None
        return self.active

    def start(self, name: str, bundle: Bundle) -> None:
        """Fill the slot afresh; the epoch goes on, for receivers that outlive a configuration."""
        with self._lock:
            self.active = ActivePolicy(name, bundle, self._next_epoch(), self._clock())
            self.previous = self._last = None

    def clear(self) -> None:
        """Empty the slot."""
        with self._lock:
            self.active = self.previous = None

    def swap(
        self, name: str, bundle: Bundle, blend_seconds: float = 0.0, requested: float | None = None
    ) -> ActivePolicy:
        """Let ``bundle`` act from the next tick; return what it becomes."""
        with self._lock:
            requested = self._clock() if requested is None else requested
            self.previous = self.active
            blend_from = self._acting_at(requested) if blend_seconds > 0 else None
            swapped = ActivePolicy(
                name, bundle, self._next_epoch(), requested, blend_from, blend_seconds
            )
            self._unanswered = swapped.epoch
            self.swap_latency = math.nan
            self.active = swapped
            return swapped

    def _acting_at(self, now: float) -> Bundle | np.ndarray | None:
        """Return what to blend from: in a blend neither of its policies acts as the robot does."""
        if self.active is None:
            return None
        if self.active.blending(now) and self._last is not None:
            return self._last
        return self.active.bundle

    def acted(self, policy: ActivePolicy, command: np.ndarray) -> bool:
        """Note that ``policy`` has published ``command [A]``; True for its first after a swap."""
        self._last = command
        if self._unanswered != policy.epoch:
            return False
        self._unanswered = None
        self.swap_latency = self._clock() - policy.requested
        return True

    def _next_epoch(self) -> int:
        self._epoch += 1
        return self._epoch
