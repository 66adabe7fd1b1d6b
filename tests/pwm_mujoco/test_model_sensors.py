# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import mujoco
import numpy as np
import pytest

from pwm_mujoco.messages import imu_message, odometry_message, stamp, wrench_message
from pwm_mujoco.model_sensors import GYRO, ModelSensors, free_base, ros_name
from pwm_mujoco.readings import Reading

MODEL = mujoco.MjModel.from_xml_string("""
<mujoco>
  <worldbody>
    <site name="origin"/>
    <body name="drone">
      <freejoint/>
      <geom size="0.1" mass="1"/>
      <site name="front"/>
      <site name="back"/>
      <site name="grip"/>
    </body>
  </worldbody>
  <sensor>
    <accelerometer name="a" site="back"/>
    <gyro name="g" site="front"/>
    <framequat name="relative" objtype="site" objname="back" reftype="site" refname="origin"/>
    <framequat name="q" objtype="site" objname="front"/>
    <force name="f" site="grip"/>
    <framepos name="p" objtype="body" objname="drone"/>
    <touch name="t" site="grip"/>
  </sensor>
</mujoco>
""")


@pytest.fixture
def reading() -> Reading:
    data = mujoco.MjData(MODEL)
    data.qpos[:] = [1.0, 2.0, 3.0, np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)]  # a quarter turn left
    data.qvel[:] = [1.0, 0.0, 0.0, 0.1, 0.2, 0.3]
    mujoco.mj_forward(MODEL, data)
    return Reading(data.qpos, data.qvel, data.qfrc_actuator, data.sensordata)


def test_sensors_of_one_site_make_one_message() -> None:
    sensors = ModelSensors.of(MODEL)
    assert [imu.name for imu in sensors.imus] == ["back", "front"]
    assert [wrench.name for wrench in sensors.wrenches] == ["grip"]
    assert [touch.name for touch in sensors.touches] == ["grip"]
    assert GYRO not in sensors.imus[0].places


def test_what_an_imu_does_not_measure_is_marked(reading: Reading) -> None:
    back, front = ModelSensors.of(MODEL).imus
    said = imu_message(back, reading, stamp(0.0), "back")
    assert said.orientation_covariance[0] == said.angular_velocity_covariance[0] == -1.0
    assert said.linear_acceleration_covariance[0] == 0.0
    said = imu_message(front, reading, stamp(0.0), "front")
    assert said.linear_acceleration_covariance[0] == -1.0
    assert said.orientation.z == pytest.approx(np.sqrt(0.5))
    velocity = said.angular_velocity
    assert (velocity.x, velocity.y, velocity.z) == pytest.approx((0.1, 0.2, 0.3))


def test_a_torque_that_is_not_measured_is_no_zero(reading: Reading) -> None:
    said = wrench_message(ModelSensors.of(MODEL).wrenches[0], reading, stamp(0.0))
    assert np.isfinite(said.wrench.force.z)
    assert np.isnan(said.wrench.torque.z)


def test_the_twist_of_a_free_body_is_in_its_own_frame(reading: Reading) -> None:
    base = free_base(MODEL)
    assert base == (0, 0)
    said = odometry_message(base, reading, stamp(1.5), "odom", "base_link")
    assert (said.header.stamp.sec, said.header.stamp.nanosec) == (1, 500_000_000)
    linear, angular = said.twist.twist.linear, said.twist.twist.angular
    assert (linear.x, linear.y) == pytest.approx((0.0, -1.0), abs=1e-9)
    assert (angular.x, angular.y, angular.z) == pytest.approx((0.1, 0.2, 0.3))
    assert said.pose.pose.position.y == 2.0


def test_a_body_on_the_ground_is_no_free_base() -> None:
    assert free_base(mujoco.MjModel.from_xml_string("<mujoco/>")) is None


@pytest.mark.parametrize(("name", "plain"), [("1st wrist", "_1st_wrist"), ("a/b-c", "a_b_c")])
def test_names_of_sites_become_names_of_topics(name: str, plain: str) -> None:
    assert ros_name(name) == plain
