# SPDX-License-Identifier: Apache-2.0
"""Timing of a control loop over its last ticks."""

from __future__ import annotations

import threading
from collections import Counter, deque

import numpy as np

COUNTS = (
    "ticks",
    "missed_ticks",
    "phase_shifts",
    "stale_inputs",
    "refused_inputs",
    "out_of_range_inputs",
    "invalid_outputs",
    "limited_actions",
    "rate_limited_actions",
    "safe_actions",
)
"""Events that are shown even while there are none."""


class LoopStatistics:
    """Periods and inference times of the last ``window`` ticks, and counts since the last clear.

    One thread writes, others may read at any time.
    """

    def __init__(self, window: int = 8192) -> None:
        self._lock = threading.Lock()
        self._periods: deque[float] = deque(maxlen=window)
        self._inferences: deque[float] = deque(maxlen=window)
        self._last_tick: float | None = None
        self.counts: Counter[str] = Counter()

    def tick(self, started: float) -> None:
        """Record that a tick started at ``started`` (seconds, monotonic)."""
        with self._lock:
            if self._last_tick is not None:
                self._periods.append(started - self._last_tick)
            self._last_tick = started
            self.counts["ticks"] += 1

    def inference(self, seconds: float) -> None:
        """Record how long the policy took."""
        with self._lock:
            self._inferences.append(seconds)

    def count(self, event: str, times: int = 1) -> None:
        """Count an event."""
        with self._lock:
            self.counts[event] += times

    def clear(self) -> None:
        """Start over, with other ticks to come."""
        with self._lock:
            self._periods.clear()
            self._inferences.clear()
            self._last_tick = None
            self.counts.clear()

    def snapshot(self) -> dict[str, float]:
        """Return counts, ``rate_hz`` and p50, p99, max of period and inference in ms.

        Timings are NaN until there are any.
        """
        with self._lock:
            periods, inferences = list(self._periods), list(self._inferences)
            values: dict[str, float] = {**dict.fromkeys(COUNTS, 0), **self.counts}
        values["rate_hz"] = 1.0 / float(np.mean(periods)) if periods else float("nan")
        values |= _distribution("period", periods)
        values |= _distribution("inference", inferences)
        return values


def _distribution(name: str, seconds: list[float]) -> dict[str, float]:
    p50, p99, top = (
        np.percentile(np.array(seconds) * 1e3, [50, 99, 100]) if seconds else [float("nan")] * 3
    )
    return {
        f"{name}_p50_ms": float(p50),
        f"{name}_p99_ms": float(p99),
        f"{name}_max_ms": float(top),
    }
