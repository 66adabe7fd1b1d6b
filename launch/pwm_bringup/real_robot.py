# SPDX-License-Identifier: Apache-2.0
"""Which nodes run on a robot, said once for the launch file and for ``pwm robot``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pwm_bringup.bringup import Bringup, absolute
from pwm_bringup.nodes import NodeProcess, Value

TOPICS = ("joint_states", "imu/data", "odom", "cmd_vel", "target")
"""What a bundle's observation can be assembled from, as the policy node calls it."""


@dataclass(frozen=True, kw_only=True)
class RealRobot(Bringup):
    """Policy node without a simulator."""

    PARAMETER_FILE = "robot.yaml"

    observation_source: Literal["sensors", "observation"] = "sensors"
    """sensors: assembled by name from the topics below; observation: one message has it all."""
    joint_states_topic: str = "joint_states"
    """Topic of sensor_msgs/JointState."""
    imu_topic: str = "imu/data"
    """Topic of sensor_msgs/Imu."""
    odom_topic: str = "odom"
    """Topic of nav_msgs/Odometry."""
    cmd_vel_topic: str = "cmd_vel"
    """Topic of the velocity to follow (geometry_msgs/Twist)."""
    target_topic: str = "target"
    """Topic of the point to reach (geometry_msgs/PointStamped)."""
    command_interface: Literal[
        "", "action", "forward_command", "joint_trajectory", "joint_state"
    ] = ""
    """How commands leave: action: pwm_interfaces/Action; forward_command: Float64MultiArray for a
    ros2_control forward command controller; joint_trajectory; joint_state; empty: the parameter
    file's."""
    command_topic: str = ""
    """Topic of the commands; empty: the parameter file's, or one below the controller's name."""
    controller: str = ""
    """ros2_control controller to ask for its joints, whose order forward_command needs; empty: the
    parameter file's."""
    joints: tuple[str, ...] = ()
    """Joints of a receiver that cannot be asked, in its order (with ros2 launch separated by
    commas, with pwm robot by spaces); empty: the parameter file's."""
    joint_prefix: str = ""
    """What the robot puts before the bundle's names of joints, say panda_; empty: the parameter
    file's, or nothing."""
    joint_names_file: Path | None = None
    """YAML file of joints that the robot calls otherwise (name in the bundle: name on the robot);
    empty: the parameter file's, or none."""
    rate: float | None = None
    """Decisions per second that the robot expects: bundles of another rate are refused; empty: the
    parameter file's, or any."""
    limits_file: Path | None = None
    """YAML file of limits narrower than the bundle's; empty: the parameter file's, or none."""
    state_directory: Path | None = None
    """Directory where a latched emergency stop and the acting policy's name outlive the policy
    node; empty: the parameter file's, ~/.ros/policy_node."""
    dry_run: bool = False
    """Publish commands only below shadow/, so that nothing moves."""

    def robot_nodes(self) -> list[NodeProcess]:
        """Return the policy node; the robot's own drivers and controllers run already."""
        names = (
            *(self.joint_states_topic, self.imu_topic, self.odom_topic),
            *(self.cmd_vel_topic, self.target_topic),
        )
        moved = tuple((old, new) for old, new in zip(TOPICS, names, strict=True) if old != new)
        return [self.policy_node(self._parameters(), moved)]

    def _parameters(self) -> dict[str, Value]:
        given: dict[str, Value] = {"observation_source": self.observation_source}
        said: dict[str, Value | None] = {
            "command_interface": self.command_interface,
            "command_topic": self.command_topic,
            "controller": self.controller,
            "joints": self.joints,
            "joint_prefix": self.joint_prefix,
            "joint_names_file": absolute(self.joint_names_file) if self.joint_names_file else None,
            "rate": self.rate,
            "limits_file": absolute(self.limits_file) if self.limits_file else None,
            "state_directory": absolute(self.state_directory) if self.state_directory else None,
            "dry_run": self.dry_run,  # true if the parameter file or this says so
        }
        return given | {name: value for name, value in said.items() if value}
