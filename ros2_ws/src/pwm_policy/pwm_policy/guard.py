# SPDX-License-Identifier: Apache-2.0
"""Checks on what goes into a policy and what comes out of it."""

from __future__ import annotations

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


class ActionGuard:
    """Keeps commands finite and inside the actuators' limits."""

    def __init__(self, layout: ActionLayout) -> None:
        self.safe = layout.safe
        self._low, self._high = layout.low, layout.high

    def limit(self, action: np.ndarray) -> tuple[np.ndarray, bool]:
        """Return the action ``[A]`` inside its limits, and whether it had to be moved."""
        limited = np.clip(action, self._low, self._high)
        return limited, not np.allclose(limited, action, rtol=1e-6, atol=1e-6)
