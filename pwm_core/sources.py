# SPDX-License-Identifier: Apache-2.0
"""Where an observation entry can come from: the topics of a robot and what each of them says.

Units and frames are ROS's (REP 103, 145) except where a field's comment says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from itertools import product


class Kind(Enum):
    """What it means when a topic falls silent."""

    MEASUREMENT = auto()
    """It must keep coming; a robot without it is not under control."""
    COMMAND = auto()
    """Silence is zero: stop."""
    GOAL = auto()
    """It must be said once and holds until another is said."""
    MEMORY = auto()
    """The controller knows it by itself."""


@dataclass(frozen=True)
class Source:
    """One topic that observation channels may name."""

    topic: str
    """Relative name, e.g. ``imu/data``."""
    fields: tuple[str, ...] | None
    """What a channel may read of it; None: whatever the task calls it."""
    keyed: bool
    """Whether a channel's key picks one of several things (joints); else there is only one."""
    kind: Kind = Kind.MEASUREMENT
    """What it means when the topic falls silent."""

    def objection(self, field: str) -> str:
        """Return why ``field`` cannot be read of this topic; empty if it can."""
        if self.fields is None or field in self.fields:
            return ""
        return f"topic {self.topic} has no field {field!r}, only {', '.join(self.fields)}"


def _vectors(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}.{axis}" for name, axis in product(names, "xyz"))


def _quaternion(name: str) -> tuple[str, ...]:
    return tuple(f"{name}.{part}" for part in "wxyz")


JOINT_STATES = Source("joint_states", ("position", "velocity", "effort"), keyed=True)
IMU = Source(
    "imu/data",
    # projected_gravity: unit vector of gravity in the sensor's frame, from the orientation.
    _quaternion("orientation")
    + _vectors("angular_velocity", "linear_acceleration", "projected_gravity"),
    keyed=False,
)
ODOMETRY = Source(
    "odom",
    # twist.linear is in the frame of the pose, as in MuJoCo; twist.linear_body and twist.angular
    # are in the body's own frame, as in the message.
    _vectors("pose.position")
    + _quaternion("pose.orientation")
    + _vectors("twist.linear", "twist.linear_body", "twist.angular"),
    keyed=False,
)
VELOCITY_COMMAND = Source("cmd_vel", _vectors("linear", "angular"), keyed=False, kind=Kind.COMMAND)
TARGET = Source("target", _vectors("point"), keyed=False, kind=Kind.GOAL)
"""A point to reach (``geometry_msgs/PointStamped``), m, in the frame of the robot's base."""
PREVIOUS_ACTION = Source("action", ("value",), keyed=True, kind=Kind.MEMORY)
"""The newest command sent before this decision, by actuator, after all limits."""
WHOLE_OBSERVATION = Source("observation", None, keyed=True)
"""What only a simulator, or a node of the user's own, can say: the vector as a whole."""

SOURCES = {
    source.topic: source
    for source in (
        JOINT_STATES,
        IMU,
        ODOMETRY,
        VELOCITY_COMMAND,
        TARGET,
        PREVIOUS_ACTION,
        WHOLE_OBSERVATION,
    )
}
"""By topic."""
TRAJECTORY_FIELDS = {"position": "positions", "velocity": "velocities", "effort": "effort"}
"""Field of a trajectory_msgs/JointTrajectoryPoint by that of a sensor_msgs/JointState."""
