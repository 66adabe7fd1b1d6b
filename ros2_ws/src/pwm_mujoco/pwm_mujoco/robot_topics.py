# SPDX-License-Identifier: Apache-2.0
"""Everything that the sensors of a robot say, as ROS topics named after the model's sites."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import mujoco
from geometry_msgs.msg import WrenchStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64

from pwm_mujoco.messages import (
    JointStates,
    imu_message,
    odometry_message,
    stamp,
    touch_message,
    wrench_message,
)
from pwm_mujoco.model_sensors import ModelSensors, free_base
from pwm_mujoco.world import World

# Offered reliable, so that a recorder may ask for every message; a controller asks for
# best effort, depth 1, and is never held up by a retransmission.
STREAM = QoSProfile(depth=50)


@dataclass(frozen=True)
class TopicSettings:
    """What is published, how often, in which frames."""

    rate: float
    """Messages per simulated second of each topic; 0: at every opportunity."""
    odometry: bool
    """Publish the true pose and twist of a free body."""
    base_frame: str
    """Frame of that body."""
    odom_frame: str
    """Frame of its pose."""
    imu_frame: str
    """Frame of the first IMU; empty: its site's name."""


class RobotTopics:
    """Publishes the readings of a world.

    Another task of the body may bring a model whose sensors lie elsewhere in the reading.
    """

    def __init__(self, node: Node, model: mujoco.MjModel, settings: TopicSettings) -> None:
        self._node, self.settings = node, settings
        self._topics: dict[str, Publisher] = {}
        self._due = 0.0
        self._describe(model)

    def publish_when_due(self, world: World) -> None:
        """Publish unless the last time was less than a period ago, in simulated time."""
        if self.settings.rate == 0:
            self.publish(world)
        elif world.time >= self._due - 1e-9:
            self._due = max(self._due, world.time) + 1.0 / self.settings.rate
            self.publish(world)

    def publish(self, world: World) -> None:
        """Publish what is measured now."""
        if self._model is not world.environment.model:
            self._describe(world.environment.model)
        reading, time = world.reading, stamp(world.time)
        self._topics["joint_states"].publish(self._joints.message(reading, time))
        for topic, imu in self._imus.items():
            frame = (topic == "imu/data" and self.settings.imu_frame) or imu.name
            self._topics[topic].publish(imu_message(imu, reading, time, frame))
        for topic, sensors in self._wrenches.items():
            self._topics[topic].publish(wrench_message(sensors, reading, time))
        for topic, sensors in self._touches.items():
            self._topics[topic].publish(touch_message(sensors, reading))
        if self._base is not None:
            frames = (self.settings.odom_frame, self.settings.base_frame)
            self._topics["odom"].publish(odometry_message(self._base, reading, time, *frames))

    def _describe(self, model: mujoco.MjModel) -> None:
        """Find the model's sensors and make their topics."""
        self._model = model
        self._joints, sensors = JointStates(model), ModelSensors.of(model)
        names = [f"imu/{imu.name}/data" for imu in sensors.imus]
        names[:1] = ["imu/data"] * len(names[:1])
        self._imus = dict(zip(names, sensors.imus, strict=True))
        self._wrenches = {f"wrench/{sensor.name}": sensor for sensor in sensors.wrenches}
        self._touches = {f"touch/{sensor.name}": sensor for sensor in sensors.touches}
        self._base = free_base(model) if self.settings.odometry else None
        odometry = ["odom"] if self._base is not None else []
        self._offer(JointState, ["joint_states"])
        self._offer(Imu, self._imus)
        self._offer(WrenchStamped, self._wrenches)
        self._offer(Float64, self._touches)
        self._offer(Odometry, odometry)

    def _offer(self, kind: type, topics: Iterable[str]) -> None:
        for topic in topics:
            if topic not in self._topics:
                self._topics[topic] = self._node.create_publisher(kind, topic, STREAM)
