# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from collections.abc import Mapping

import mujoco
import numpy as np
import pytest
from geometry_msgs.msg import Point, PointStamped, Pose, Quaternion, Twist, Vector3
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Imu, JointState

from pwm_core.sources import SOURCES, Kind
from pwm_policy.sources import (
    SENSORS,
    MessageError,
    read_imu,
    read_joint_states,
    read_odometry,
    read_target,
    read_velocity_command,
)

TURN = np.array([0.4, -0.2, 0.8, 0.4])
"""An orientation (w, x, y, z), of length 1."""


def quaternion(values: np.ndarray = TURN) -> Quaternion:
    w, x, y, z = values.tolist()
    return Quaternion(w=w, x=x, y=y, z=z)


def vector(said: Mapping[tuple[str, str], float], name: str) -> list[float]:
    return [said["", f"{name}.{axis}"] for axis in "xyz"]


def rotation(values: np.ndarray = TURN) -> np.ndarray:
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, values)
    return matrix.reshape(3, 3)


def test_everything_that_a_layout_may_name_can_be_heard() -> None:
    heard = {topic for topic, s in SOURCES.items() if s.fields and s.kind is not Kind.MEMORY}
    assert set(SENSORS) == heard
    for topic in heard:
        message = SENSORS[topic].message()
        if topic == "joint_states":
            message = JointState(name=["a"], position=[0.0], velocity=[0.0], effort=[0.0])
        said = SENSORS[topic].read(message)
        assert {field for _, field in said} == set(SOURCES[topic].fields or ())


def test_joint_states_say_what_they_have() -> None:
    message = JointState(name=["b", "a"], position=[1.0, 2.0], effort=[3.0, math.nan])
    said = read_joint_states(message)
    assert said[("a", "position")] == 2.0
    assert said[("b", "effort")] == 3.0
    assert ("a", "velocity") not in said


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (JointState(name=["a", "b"], velocity=[1.0]), "2 names but 1 velocity values"),
        (JointState(name=["a", "a"], position=[1.0, 2.0]), "joints repeat: a"),
    ],
)
def test_joint_states_that_contradict_themselves(message: JointState, reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        read_joint_states(message)


def test_gravity_is_seen_from_the_body() -> None:
    said = read_imu(Imu(orientation=quaternion(TURN * 0.5)))
    np.testing.assert_allclose(
        vector(said, "projected_gravity"), rotation().T @ [0, 0, -1], atol=1e-12
    )
    level = read_imu(Imu(orientation=Quaternion(w=1.0)))
    np.testing.assert_allclose(vector(level, "projected_gravity"), [0, 0, -1])


def test_an_imu_says_only_what_it_measures() -> None:
    message = Imu(angular_velocity=Vector3(x=1.0), linear_acceleration=Vector3(z=9.81))
    message.orientation_covariance[0] = -1.0
    said = read_imu(message)
    assert vector(said, "angular_velocity") == [1, 0, 0]
    assert vector(said, "linear_acceleration") == [0, 0, 9.81]
    assert len(said) == 6
    lost = read_imu(Imu(orientation=Quaternion(w=0.0)))
    assert all(math.isnan(value) for value in vector(lost, "projected_gravity"))


@pytest.mark.parametrize("factor", [1.0, -1.0, 0.5, -3.0])
def test_a_rotation_is_heard_as_one_quaternion(factor: float) -> None:
    imu = read_imu(Imu(orientation=quaternion(TURN * factor)))
    odometry = Odometry()
    odometry.pose.pose.orientation = quaternion(TURN * factor)
    for said, name in ((imu, "orientation"), (read_odometry(odometry), "pose.orientation")):
        np.testing.assert_allclose([said["", f"{name}.{part}"] for part in "wxyz"], TURN)


@pytest.mark.parametrize("part", [0.0, math.inf, math.nan])
def test_what_is_no_rotation_is_no_number(part: float) -> None:
    said = read_imu(Imu(orientation=Quaternion(w=part)))
    assert all(math.isnan(said["", f"orientation.{part}"]) for part in "wxyz")


def test_odometry_has_velocities_in_both_frames() -> None:
    message = Odometry()
    message.pose.pose = Pose(position=Point(x=1.0, y=2.0, z=3.0), orientation=quaternion())
    message.twist.twist = Twist(linear=Vector3(x=0.5, y=-1.0), angular=Vector3(z=2.0))
    said = read_odometry(message)
    assert vector(said, "pose.position") == [1, 2, 3]
    assert said["", "pose.orientation.y"] == 0.8
    assert vector(said, "twist.linear_body") == [0.5, -1.0, 0.0]
    np.testing.assert_allclose(vector(said, "twist.linear"), rotation() @ [0.5, -1.0, 0.0])
    assert vector(said, "twist.angular") == [0, 0, 2]


def test_a_free_body_of_mujoco_reads_as_its_own_observation() -> None:
    """MuJoCo's linear velocity is in the world's frame, ROS's in the body's."""
    rng = np.random.default_rng(0)
    world = rng.normal(size=3)
    body = rotation().T @ world
    message = Odometry()
    message.pose.pose.orientation = quaternion()
    message.twist.twist.linear = Vector3(x=body[0], y=body[1], z=body[2])
    np.testing.assert_allclose(vector(read_odometry(message), "twist.linear"), world)


def test_commands_and_goals() -> None:
    command = read_velocity_command(Twist(linear=Vector3(x=0.3), angular=Vector3(z=-1.0)))
    assert (command["", "linear.x"], command["", "angular.z"]) == (0.3, -1.0)
    assert read_target(PointStamped(point=Point(y=4.0)))["", "point.y"] == 4.0
