# SPDX-License-Identifier: Apache-2.0
"""Commands of joints, in the order a controller has them, from commands of actuators. No ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pwm_core.layout import ActionLayout


class CommandError(ValueError):
    """Commands cannot leave as asked; the message names every difference."""


class JointCommands:
    """``gear * command + offset`` of each joint: rad, m, rad/s, m/s, N·m or N."""

    def __init__(self, layout: ActionLayout, joints: Sequence[str]) -> None:
        """``joints`` in the receiver's order; :class:`CommandError` unless the layout has them."""
        objections = _objections(layout, joints)
        if objections:
            raise CommandError("; ".join(objections))
        order = {channel.joint: number for number, channel in enumerate(layout.channels)}
        channels = [layout.channels[order[joint]] for joint in joints]
        self.joints = tuple(joints)
        self.interpretations = tuple(channel.interpretation for channel in channels)
        """Of each joint: ``position``, ``velocity`` or ``effort``."""
        self._order = np.array([order[joint] for joint in joints])
        self._gear = np.array([channel.gear for channel in channels])
        self._offset = np.array([channel.offset for channel in channels])

    def __call__(self, command: np.ndarray) -> np.ndarray:
        """Map ``[A]``, actuator units in the layout's order, to ``[J]``, joint units."""
        return self._gear * np.take(command, self._order) + self._offset

    def interpretation(self, receiver: str) -> str:
        """Return what all joints have in common; :class:`CommandError` if they do not."""
        if len(set(self.interpretations)) > 1:
            pairs = zip(self.joints, self.interpretations, strict=True)
            kinds = ", ".join(f"{joint} by {kind}" for joint, kind in pairs)
            raise CommandError(f"{receiver} commands joints in one way, the policy has {kinds}")
        return self.interpretations[0]


def driven_joints(layout: ActionLayout) -> tuple[str, ...]:
    """Return the layout's joints in its order."""
    return tuple(channel.joint for channel in layout.channels)


def _objections(layout: ActionLayout, joints: Sequence[str]) -> list[str]:
    driven = driven_joints(layout)
    without = [channel.name for channel in layout.channels if not channel.joint]
    shared = [joint for joint, count in Counter(driven).items() if joint and count > 1]
    repeated = [joint for joint, count in Counter(joints).items() if count > 1]
    lacking = [joint for joint in driven if joint and joint not in joints]
    unknown = [joint for joint in joints if joint not in driven]
    sentences = [
        (without, "the policy's actuators {} drive no joint"),
        (shared, "several of the policy's actuators drive {}"),
        (repeated, "joints name {} more than once"),
        (lacking, "joints lack {}, which the policy commands"),
        (unknown, "joints have {}, which the policy does not command"),
    ]
    return [text.format(", ".join(names)) for names, text in sentences if names]
