# SPDX-License-Identifier: Apache-2.0
"""Observation channels of joints, free bodies and plain vectors, in the names of ROS messages."""

from __future__ import annotations

from collections.abc import Iterable

from pwm_core.layout import ObservationChannel

Channels = tuple[ObservationChannel, ...]
_POSE = (
    ("pose.position.x", "m"),
    ("pose.position.y", "m"),
    ("pose.position.z", "m"),
    ("pose.orientation.w", "1"),
    ("pose.orientation.x", "1"),
    ("pose.orientation.y", "1"),
    ("pose.orientation.z", "1"),
)
_TWIST = tuple(
    (f"twist.{part}.{axis}", unit)
    for part, unit in (("linear", "m/s"), ("angular", "rad/s"))
    for axis in "xyz"
)


def joint_positions(
    joints: Iterable[str], unit: str = "rad", transform: str = "identity"
) -> Channels:
    """Return a position per joint, or its ``cos`` or ``sin``."""
    if transform == "identity":
        return _joint_channels(joints, "position", unit)
    return tuple(
        ObservationChannel(
            f"{joint}/position/{transform}", "1", "joint_states", joint, "position", transform
        )
        for joint in joints
    )


def joint_velocities(joints: Iterable[str], unit: str = "rad/s") -> Channels:
    """Return a velocity per joint."""
    return _joint_channels(joints, "velocity", unit)


def joint_efforts(joints: Iterable[str], unit: str = "N·m") -> Channels:
    """Return the actuators' force or torque per joint."""
    return _joint_channels(joints, "effort", unit)


def _joint_channels(joints: Iterable[str], field: str, unit: str) -> Channels:
    return tuple(
        ObservationChannel(f"{joint}/{field}", unit, "joint_states", joint, field)
        for joint in joints
    )


def body_pose(body: str) -> Channels:
    """Return position and orientation (w, x, y, z) of a free body, as MuJoCo orders them."""
    return _body_channels(body, _POSE)


def body_twist(body: str) -> Channels:
    """Return velocities of a free body: linear in the world's frame, angular in its own."""
    return _body_channels(body, _TWIST)


def _body_channels(body: str, fields: tuple[tuple[str, str], ...]) -> Channels:
    return tuple(
        ObservationChannel(f"{body}/{field}", unit, "odom", body, field) for field, unit in fields
    )


def vector(name: str, size: int, unit: str = "1") -> Channels:
    """Return ``size`` numbers that only the task's own observation holds."""
    return tuple(
        ObservationChannel(f"{name}/{index}", unit, "observation", name, str(index))
        for index in range(size)
    )
