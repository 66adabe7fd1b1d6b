# SPDX-License-Identifier: Apache-2.0
"""What the messages of a robot's topics say, as the fields of :mod:`pwm_core.sources`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import PointStamped, Quaternion, Twist
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Imu, JointState

from pwm_core import sources
from pwm_policy.assembly import Place


class MessageError(ValueError):
    """A message contradicts itself; it says nothing."""


@dataclass(frozen=True)
class Sensor:
    """How a topic is heard."""

    message: type
    """Type of its messages."""
    read: Callable[[Any], Mapping[Place, float]]
    """Returns every value a message holds; ``MessageError`` for one that contradicts itself."""


def read_joint_states(message: JointState) -> dict[Place, float]:
    """Return position, velocity and effort of every joint, as far as the message has them."""
    said: dict[Place, float] = {}
    repeated = [name for name, count in Counter(message.name).items() if count > 1]
    if repeated:
        raise MessageError(f"joints repeat: {', '.join(repeated)}")
    for field in sources.JOINT_STATES.fields or ():
        values = getattr(message, field)
        if len(values) not in (0, len(message.name)):
            raise MessageError(f"{len(message.name)} names but {len(values)} {field} values")
        said.update(zip(((name, field) for name in message.name), values, strict=False))
    return said


def read_imu(message: Imu) -> dict[Place, float]:
    """Return what the sensor measures; a covariance of -1 says what it does not (REP 145)."""
    said: dict[Place, float] = {}
    if message.orientation_covariance[0] >= 0:
        said |= _quaternion("orientation", message.orientation)
        gravity = -_rotation(message.orientation)[2]
        said |= {("", f"projected_gravity.{axis}"): gravity[i] for i, axis in enumerate("xyz")}
    if message.angular_velocity_covariance[0] >= 0:
        said |= _vector("angular_velocity", message.angular_velocity)
    if message.linear_acceleration_covariance[0] >= 0:
        said |= _vector("linear_acceleration", message.linear_acceleration)
    return said


def read_odometry(message: Odometry) -> dict[Place, float]:
    """Return pose and twist; the message has the twist in the body's frame (REP 105)."""
    pose, twist = message.pose.pose, message.twist.twist
    body = np.array([twist.linear.x, twist.linear.y, twist.linear.z])
    world = _rotation(pose.orientation) @ body
    return (
        _vector("pose.position", pose.position)
        | _quaternion("pose.orientation", pose.orientation)
        | {("", f"twist.linear.{axis}"): world[i] for i, axis in enumerate("xyz")}
        | _vector("twist.linear_body", twist.linear)
        | _vector("twist.angular", twist.angular)
    )


def read_velocity_command(message: Twist) -> dict[Place, float]:
    """Return the commanded velocity."""
    return _vector("linear", message.linear) | _vector("angular", message.angular)


def read_target(message: PointStamped) -> dict[Place, float]:
    """Return the point."""
    return _vector("point", message.point)


SENSORS = {
    sources.JOINT_STATES.topic: Sensor(JointState, read_joint_states),
    sources.IMU.topic: Sensor(Imu, read_imu),
    sources.ODOMETRY.topic: Sensor(Odometry, read_odometry),
    sources.VELOCITY_COMMAND.topic: Sensor(Twist, read_velocity_command),
    sources.TARGET.topic: Sensor(PointStamped, read_target),
}
"""By topic: all that can be heard besides the observation as a whole."""


def _vector(name: str, vector: Any) -> dict[Place, float]:
    return {("", f"{name}.{axis}"): getattr(vector, axis) for axis in "xyz"}


def _quaternion(name: str, quaternion: Quaternion) -> dict[Place, float]:
    """Return it of length 1 with w >= 0, for q and -q are one rotation; NaN for zeros."""
    parts = quaternion.w, quaternion.x, quaternion.y, quaternion.z
    length = math.copysign(math.hypot(*parts), quaternion.w)
    rotates = 0 < abs(length) < math.inf
    return {
        ("", f"{name}.{part}"): value / length if rotates else math.nan
        for part, value in zip("wxyz", parts, strict=True)
    }


def _rotation(quaternion: Quaternion) -> np.ndarray:
    """Return the rotation ``[3, 3]`` from the body's frame; NaN for a quaternion of zeros."""
    w, x, y, z = quaternion.w, quaternion.x, quaternion.y, quaternion.z
    square = w * w + x * x + y * y + z * z
    s = 2.0 / square if square > 0 else math.nan
    return np.array(
        [
            [1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
            [s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)],
            [s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)],
        ]
    )
