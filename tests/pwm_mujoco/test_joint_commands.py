# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from pwm_core.layout import ActionChannel, ActionLayout
from pwm_mujoco.joint_commands import CommandReader
from pwm_mujoco.world import CommandRefused

HIP = ActionChannel("hip_motor", "hip", "effort", "1", -1.0, 1.0, safe=0.0, gear=-20.0)
KNEE = ActionChannel("knee_servo", "knee", "position", "rad", 0.0, 2.0, safe=1.0, offset=0.5)
LAYOUT = ActionLayout((HIP, KNEE))
WANTED = {"hip_motor": pytest.approx(0.5), "knee_servo": pytest.approx(1.5)}
"""What -10 N·m at the hip and 2 rad at the knee ask of the actuators."""


@pytest.fixture
def commands() -> CommandReader:
    return CommandReader(LAYOUT, ["knee", "hip"])


def test_an_array_is_in_the_order_of_the_parameter(commands: CommandReader) -> None:
    assert commands.of_array(Float64MultiArray(data=[2.0, -10.0])) == WANTED
    assert CommandReader(LAYOUT).of_array(Float64MultiArray(data=[-10.0, 2.0])) == WANTED


@pytest.mark.parametrize("joints", [["hip", "knee"], ["knee", "hip"]])
def test_a_trajectory_goes_by_name(commands: CommandReader, joints: list[str]) -> None:
    effort, position = {"hip": -10.0, "knee": 0.0}, {"hip": 0.0, "knee": 2.0}
    point = JointTrajectoryPoint(
        positions=[position[joint] for joint in joints], effort=[effort[joint] for joint in joints]
    )
    assert commands.of_trajectory(JointTrajectory(joint_names=joints, points=[point])) == WANTED


def test_a_joint_state_may_command_some_joints(commands: CommandReader) -> None:
    told = JointState(name=["knee"], position=[2.0])
    assert commands.of_joint_state(told) == {"knee_servo": WANTED["knee_servo"]}


def test_what_does_not_fit_is_refused(commands: CommandReader) -> None:
    with pytest.raises(CommandRefused, match=r"1 values, expected 2, for \['knee', 'hip'\]"):
        commands.of_array(Float64MultiArray(data=[1.0]))
    with pytest.raises(CommandRefused, match="joint 'toe' is none of"):
        commands.of_joint_state(JointState(name=["toe"], position=[1.0]))
    with pytest.raises(CommandRefused, match="0 values of effort for 1 joints"):
        commands.of_joint_state(JointState(name=["hip"], position=[1.0]))
    with pytest.raises(CommandRefused, match="joints repeat"):
        commands.of_joint_state(JointState(name=["knee", "knee"], position=[1.0, 2.0]))
    with pytest.raises(CommandRefused, match="a trajectory of 0 points, expected 1"):
        commands.of_trajectory(JointTrajectory(joint_names=["hip"]))


def test_an_order_of_other_joints_is_refused() -> None:
    with pytest.raises(ValueError, match=r"joints is \['hip', 'toe'\], expected .*'hip', 'knee'"):
        CommandReader(LAYOUT, ["hip", "toe"])
    shared = ActionChannel("hip_brake", "hip", "effort", "1", 0.0, 1.0, safe=0.0)
    with pytest.raises(ValueError, match=r"joints \['hip'\] have several actuators"):
        CommandReader(ActionLayout((HIP, shared)))
