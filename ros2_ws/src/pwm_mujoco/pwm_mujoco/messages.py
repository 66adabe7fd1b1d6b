# SPDX-License-Identifier: Apache-2.0
"""The state of a world as ROS messages."""

from __future__ import annotations

import math

import mujoco
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, WrenchStamped
from nav_msgs.msg import Odometry
from pwm_interfaces.msg import Observation
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64, Header

from pwm_mujoco.model_sensors import (
    ACCELEROMETER,
    FORCE,
    GYRO,
    ORIENTATION,
    TORQUE,
    TOUCH,
    SiteSensors,
)
from pwm_mujoco.readings import Reading
from pwm_mujoco.world import World

SCALAR_JOINTS = (int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_HINGE))


def stamp(seconds: float) -> Time:
    """Return simulated time as a ROS stamp."""
    nanoseconds = round(seconds * 1e9)
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def observation_message(world: World) -> Observation:
    """Return what a policy sees, with reward and the ends of the episode."""
    message = Observation(
        task=world.task.name,
        episode=world.episode,
        step=world.step,
        episode_step=world.episode_step,
        layout_hash=world.layout_hash,
        reward=float(world.reward),
        episode_return=float(world.episode_return),
        terminated=bool(world.terminated),
        truncated=bool(world.truncated),
    )
    message.data = world.observation.tolist()
    message.header.stamp = stamp(world.time)
    return message


class JointStates:
    """Position, velocity and actuator force of every hinge and slide joint of a model."""

    def __init__(self, model: mujoco.MjModel) -> None:
        joints = [i for i in range(model.njnt) if model.jnt_type[i] in SCALAR_JOINTS]
        self.names = [model.joint(i).name or f"joint_{i}" for i in joints]
        self._positions = model.jnt_qposadr[joints]
        self._velocities = model.jnt_dofadr[joints]

    def message(self, reading: Reading, time: Time) -> JointState:
        """Return a reading, in the model's order."""
        message = JointState(
            name=self.names,
            position=reading.position[self._positions].tolist(),
            velocity=reading.velocity[self._velocities].tolist(),
            effort=reading.effort[self._velocities].tolist(),
        )
        message.header.stamp = time
        return message


def imu_message(imu: SiteSensors, reading: Reading, time: Time, frame: str) -> Imu:
    """Return what an IMU measures; what it does not is marked as in REP 145."""
    message = Imu()
    message.header = Header(stamp=time, frame_id=frame)
    for kind, vector, covariance in (
        (GYRO, message.angular_velocity, message.angular_velocity_covariance),
        (ACCELEROMETER, message.linear_acceleration, message.linear_acceleration_covariance),
    ):
        values = imu.read(reading, kind)
        if values is None:
            covariance[0] = -1.0
        else:
            vector.x, vector.y, vector.z = values.tolist()
    quaternion = imu.read(reading, ORIENTATION)
    if quaternion is None:
        message.orientation_covariance[0] = -1.0
    else:
        message.orientation = _quaternion(quaternion)
    return message


def wrench_message(sensors: SiteSensors, reading: Reading, time: Time) -> WrenchStamped:
    """Return the force (N) and torque (N·m) at a site, in its frame; NaN where none is measured."""
    message = WrenchStamped()
    message.header = Header(stamp=time, frame_id=sensors.name)
    for kind, vector in ((FORCE, message.wrench.force), (TORQUE, message.wrench.torque)):
        values = sensors.read(reading, kind)
        vector.x, vector.y, vector.z = [math.nan] * 3 if values is None else values.tolist()
    return message


def touch_message(sensors: SiteSensors, reading: Reading) -> Float64:
    """Return the sum of the normal forces on a site, in N."""
    values = sensors.read(reading, TOUCH)
    assert values is not None
    return Float64(data=float(values[0]))


def odometry_message(
    base: tuple[int, int], reading: Reading, time: Time, frame: str, child_frame: str
) -> Odometry:
    """Return pose and twist of a free body; its twist is in its own frame (REP 105).

    ``base`` is where the body's joint begins in positions and in velocities.
    """
    start, speed = base
    message = Odometry(child_frame_id=child_frame)
    message.header = Header(stamp=time, frame_id=frame)
    pose, twist = message.pose.pose, message.twist.twist
    pose.position.x, pose.position.y, pose.position.z = reading.position[start : start + 3].tolist()
    quaternion = reading.position[start + 3 : start + 7]
    pose.orientation = _quaternion(quaternion)
    inverse, linear = np.empty(4), np.empty(3)
    mujoco.mju_negQuat(inverse, quaternion)
    mujoco.mju_rotVecQuat(linear, reading.velocity[speed : speed + 3], inverse)
    twist.linear.x, twist.linear.y, twist.linear.z = linear.tolist()
    angular = reading.velocity[speed + 3 : speed + 6].tolist()
    twist.angular.x, twist.angular.y, twist.angular.z = angular
    return message


def _quaternion(quaternion: np.ndarray) -> Quaternion:
    """Return MuJoCo's ``[w, x, y, z]``, brought to length 1."""
    w, x, y, z = (quaternion / np.linalg.norm(quaternion)).tolist()
    return Quaternion(w=w, x=x, y=y, z=z)
