# SPDX-License-Identifier: Apache-2.0
"""The latch between the thread that stops a robot and the one that commands it. No ROS."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

LEAVING_SECONDS = 1.0
"""How long a command may be on its way out; publishing takes microseconds."""


class EmergencyStop:
    """Latched or not. Commands leave within :meth:`leaving`, one by one.

    Once :meth:`latch` has returned True, none leaves any more that was decided without the stop.
    """

    def __init__(self) -> None:
        self._latched = threading.Event()
        self._leaving = threading.Lock()
        self.reason = ""
        """Why it is latched, if nobody asked for it."""

    @property
    def latched(self) -> bool:
        """Whether only the safe action may be commanded."""
        return self._latched.is_set()

    def latch(self, reason: str = "") -> bool:
        """Latch, and wait for a command on its way; False where that has not left in time."""
        self.reason = self.reason or reason
        self._latched.set()
        if not self._leaving.acquire(timeout=LEAVING_SECONDS):
            return False
        self._leaving.release()
        return True

    def release(self) -> None:
        """Let policies command again."""
        self._latched.clear()
        self.reason = ""

    @contextlib.contextmanager
    def leaving(self) -> Iterator[bool]:
        """Keep :meth:`latch` waiting while a command leaves; tells whether it is latched."""
        with self._leaving:
            yield self.latched
