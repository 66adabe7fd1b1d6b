# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import mujoco
import numpy as np
import pytest

from pwm_core.tasks.mjcf_layout import ModelLayoutError, ModelObservation, action_layout

BODY = """
<mujoco>
  <worldbody>
    <body name="torso" pos="0 0 1">
      <freejoint/>
      <geom size="0.1"/>
      <site name="imu"/>
      <body name="leg">
        <joint name="hip" type="hinge" axis="0 1 0" range="-60 60"/>
        <geom size="0.05" pos="0 0 -0.2"/>
        <body name="wheel" pos="0 0 -0.4">
          <joint name="axle" type="hinge" axis="0 1 0"/>
          <geom size="0.05"/>
          <body name="foot" pos="0 0 -0.1">
            <joint type="slide" axis="0 0 1"/>
            <geom size="0.02"/>
            <body name="tail" pos="0.1 0 0">
              <joint name="neck" type="ball"/>
              <geom size="0.02" pos="0.05 0 0"/>
            </body>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>ACTUATORS</actuator>
  <sensor>
    <gyro name="turn" site="imu"/>
    <accelerometer name="push" site="imu"/>
    <touch name="contact" site="imu"/>
  </sensor>
</mujoco>
"""
SERVOS = """
<motor name="hip_motor" joint="hip" gear="20" ctrlrange="-2 2"/>
<position name="hip_servo" joint="hip" kp="30" ctrlrange="0.5 1.5"/>
<velocity name="axle_servo" joint="axle" kv="3" ctrlrange="-4 4"/>
<intvelocity name="axle_steps" joint="axle" kp="10" ctrlrange="-1 1" actrange="-3 3"/>
"""


def compiled(actuators: str = SERVOS) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(BODY.replace("ACTUATORS", actuators))


def test_every_kind_of_joint_has_its_channels() -> None:
    layout = ModelObservation(compiled()).layout
    assert layout.names == (
        *(f"torso/pose.position.{axis}" for axis in "xyz"),
        *(f"torso/pose.orientation.{axis}" for axis in "wxyz"),
        "hip/position",
        "axle/position/cos",
        "axle/position/sin",
        "joint_3/position",
        *(f"neck/orientation/{i}" for i in range(4)),
        *(f"torso/twist.linear.{axis}" for axis in "xyz"),
        *(f"torso/twist.angular.{axis}" for axis in "xyz"),
        "hip/velocity",
        "axle/velocity",
        "joint_3/velocity",
        *(f"neck/velocity/{i}" for i in range(3)),
    )
    units = {channel.name: channel.unit for channel in layout.channels}
    assert (units["hip/position"], units["joint_3/position"]) == ("rad", "m")
    assert (units["axle/position/cos"], units["joint_3/velocity"]) == ("1", "m/s")


def test_channels_are_read_in_the_order_of_the_layout() -> None:
    model = compiled()
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    data.qpos[:], data.qvel[:] = rng.normal(size=model.nq), rng.normal(size=model.nv)
    mujoco.mj_forward(model, data)
    observation = ModelObservation(model, ("turn", "joints", "push"))
    seen = dict(zip(observation.layout.names, observation.read(data), strict=True))
    assert len(seen) == 3 + 15 + 12 + 3
    assert seen["torso/pose.position.z"] == pytest.approx(data.qpos[2])
    assert seen["torso/twist.angular.y"] == pytest.approx(data.qvel[4])
    axle = data.joint("axle")
    assert seen["axle/position/sin"] == pytest.approx(np.sin(axle.qpos[0]))
    assert seen["axle/position/cos"] == pytest.approx(np.cos(axle.qpos[0]))
    assert seen["axle/velocity"] == pytest.approx(axle.qvel[0])
    assert seen["neck/orientation/3"] == pytest.approx(data.joint("neck").qpos[3])
    assert seen["turn/y"] == pytest.approx(data.sensor("turn").data[1])
    assert seen["push/z"] == pytest.approx(data.sensor("push").data[2])


def test_a_rotation_is_seen_as_one_quaternion() -> None:
    model = compiled()
    data = mujoco.MjData(model)
    turn = np.array([0.4, -0.2, 0.8, 0.4])
    for factor in (1.0, -1.0, -3.0):
        data.qpos[3:7] = factor * turn
        seen = ModelObservation(model).read(data)
        np.testing.assert_allclose(seen[3:7], turn, atol=1e-6)
        np.testing.assert_array_equal(seen[:3], data.qpos[:3])


def test_an_imu_is_where_ros_has_it() -> None:
    channel = ModelObservation(compiled(), ("push",)).layout.channels[2]
    assert (channel.topic, channel.field, channel.unit) == (
        "imu/data",
        "linear_acceleration.z",
        "m/s²",
    )


def test_actuators_are_told_apart() -> None:
    layout = action_layout(compiled())
    found = [(c.name, c.joint, c.interpretation, c.unit) for c in layout.channels]
    assert found == [
        ("hip_motor", "hip", "effort", "1"),
        ("hip_servo", "hip", "position", "rad"),
        ("axle_servo", "axle", "velocity", "rad/s"),
        ("axle_steps", "axle", "velocity", "rad/s"),
    ]
    assert layout.channels[0].gear == 20
    assert layout.safe.tolist() == [0.0, 0.5, 0.0, 0.0], "as near to rest as the limits allow"
    assert layout.high.tolist() == [2.0, 1.5, 4.0, 1.0]


@pytest.mark.parametrize(
    ("actuator", "gear"),
    [
        ('<motor name="a" joint="hip" gear="-20" ctrlrange="-1 1"/>', -20.0),
        ('<general name="a" joint="hip" gear="2" gainprm="3" ctrlrange="-1 1"/>', 6.0),
        ('<position name="a" joint="hip" gear="-4" kp="30" ctrlrange="-1 1"/>', -0.25),
        ('<velocity name="a" joint="axle" gear="4" kv="3" ctrlrange="-1 1"/>', 0.25),
    ],
)
def test_gear_turns_a_command_into_what_the_joint_does(actuator: str, gear: float) -> None:
    model = compiled(actuator)
    (channel,) = action_layout(model).channels
    assert channel.gear == pytest.approx(gear)
    data = mujoco.MjData(model)
    joint = data.joint(channel.joint)
    data.ctrl[0] = 0.8
    reached = channel.gear * 0.8
    if channel.interpretation == "position":
        joint.qpos[0] = reached
    if channel.interpretation == "velocity":
        joint.qvel[0] = reached
    mujoco.mj_forward(model, data)
    expected = reached if channel.interpretation == "effort" else 0.0
    assert joint.qfrc_actuator[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("actuators", "message"),
    [
        ("", "the model has no actuators"),
        ('<motor name="free" joint="hip"/>', 'actuator free has no ctrlrange.*ctrlrange="-1 1"'),
        ('<motor joint="hip"/>', "actuator actuator_0 has no ctrlrange"),
    ],
)
def test_models_without_usable_actuators(actuators: str, message: str) -> None:
    with pytest.raises(ModelLayoutError, match=message):
        action_layout(compiled(actuators))


def test_unknown_sensor_lists_those_there_are() -> None:
    with pytest.raises(ModelLayoutError, match=r"no sensor 'gyro'.*joints, turn, push, contact"):
        ModelObservation(compiled(), ("joints", "gyro"))


def test_nothing_to_observe() -> None:
    rock = mujoco.MjModel.from_xml_string("<mujoco><worldbody/></mujoco>")
    with pytest.raises(ModelLayoutError, match="the observation is empty"):
        ModelObservation(rock)
