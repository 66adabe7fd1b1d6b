# SPDX-License-Identifier: Apache-2.0
"""Where a robot's joints are before its first command. No ROS."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping

import numpy as np

from pwm_core.layout import ActionLayout
from pwm_policy.assembly import NEVER, ContractError, Place


class Pose:
    """Keeps the newest measured position of each joint that a rate makes careful.

    Commands of positions with a rate count from where the joints are found: from anywhere else the
    first would be a leap. Of efforts, velocities and positions without a rate it knows nothing.
    One thread hears, another one asks.
    """

    def __init__(self, action: ActionLayout) -> None:
        """:class:`ContractError` when such a command names no joint that could be measured."""
        careful = [
            (entry, channel)
            for entry, channel in enumerate(action.channels)
            if channel.interpretation == "position" and channel.rate is not None
        ]
        lost = [channel.name for _, channel in careful if not channel.joint]
        if lost:
            raise ContractError(
                f"{', '.join(lost)} command positions at a rate but name no joint: where they are "
                "at the first command cannot be known"
            )
        self._entries = np.array([entry for entry, _ in careful], int)
        self._gear = np.array([channel.gear for _, channel in careful])
        self._offset = np.array([channel.offset for _, channel in careful])
        self._safe = np.array([channel.safe for channel in action.channels])
        self.joints = tuple(channel.joint for _, channel in careful)
        """Joints whose position must be known; one for each command that needs it."""
        self._lock = threading.Lock()
        self._measured = dict.fromkeys(self.joints, (math.nan, NEVER))

    def hear(self, said: Mapping[Place, float], arrived: float) -> None:
        """Take the positions of ``joint_states``; one that is not finite says nothing."""
        with self._lock:
            for joint in self._measured:
                position = said.get((joint, "position"), math.nan)
                if math.isfinite(position):
                    self._measured[joint] = position, arrived

    def unknown(self, since: float) -> list[str]:
        """Return the joints that were not measured since then, seconds monotonic."""
        with self._lock:
            return [joint for joint, (_, arrived) in self._measured.items() if arrived < since]

    def away(self, command: np.ndarray, since: float) -> np.ndarray:
        """Return how far each of :attr:`joints` is from ``command [A]``, rad or m.

        Infinite for one that was not measured since then.
        """
        wanted = self._gear * command[self._entries] + self._offset
        with self._lock:
            measured = [p if at >= since else math.inf for p, at in self._measured.values()]
        return np.abs(wanted - np.array(measured))

    def command(self, since: float) -> np.ndarray | None:
        """Return the command ``[A]`` that holds the joints where they are, elsewhere the safe one.

        None while a joint was not measured since then.
        """
        if self.unknown(since):
            return None
        command = self._safe.copy()
        with self._lock:
            positions = np.array([self._measured[joint][0] for joint in self.joints])
        command[self._entries] = (positions - self._offset) / self._gear
        return command
