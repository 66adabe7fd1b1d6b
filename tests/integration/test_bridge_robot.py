# SPDX-License-Identifier: Apache-2.0
"""The bridge in a robot's place: sensors out, joint commands in, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pwm_core.tasks import get_task

SENSORS = """
<mujoco model="cart with sensors">
  <option timestep="0.005"/>
  <worldbody>
    <body name="base" pos="0 0 1">
      <freejoint name="root"/>
      <geom name="box" type="box" size="0.2 0.1 0.05" mass="3"/>
      <site name="imu" pos="0 0 0.05"/>
      <site name="sole" type="box" size="0.3 0.2 0.02" pos="0 0 -0.05"/>
      <body name="arm" pos="0.2 0 0">
        <joint name="shoulder" axis="0 1 0" damping="0.5"/>
        <geom type="capsule" fromto="0 0 0 0.2 0 0" size="0.02" mass="0.2"/>
        <site name="1st wrist" pos="0 0 0"/>
      </body>
    </body>
    <geom type="plane" size="5 5 0.1"/>
  </worldbody>
  <actuator>
    <position name="shoulder_servo" joint="shoulder" kp="5"/>
  </actuator>
  <sensor>
    <gyro name="gyro" site="imu"/>
    <accelerometer name="acceleration" site="imu"/>
    <framequat name="orientation" objtype="site" objname="imu"/>
    <force name="force" site="1st wrist"/>
    <torque name="torque" site="1st wrist"/>
    <touch name="contact" site="sole"/>
  </sensor>
  <keyframe>
    <key name="standing" qpos="0 0 0.05 1 0 0 0 0"/>
    <key name="tilted" qpos="0 0 0.5 0.70710678 0 0 0.70710678 0.3"/>
  </keyframe>
</mujoco>
"""


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "cart.xml"
    path.write_text(SENSORS)
    return path


def figure(session, key: str) -> str:
    return session.diagnostics.get("mujoco_bridge", {}).get(key, "")


def topics_of(session, node: str) -> set[str]:
    return {name for name, _ in session.get_publisher_names_and_types_by_node(node, "/")}


@pytest.mark.parametrize("command_interface", ["forward_command", "joint_state"])
def test_a_policy_solves_its_task_on_a_robot_as_sim_starts_it(
    make_bundle, start, session, until, offline, tmp_path: Path, command_interface: str
) -> None:
    from pwm_bringup.simulation import Simulation

    path = make_bundle("upright")
    simulation = Simulation(
        interface="ros2_control",
        task="cartpole-balance",
        policy_dir=tmp_path / "policies",
        mode="paused",
    )
    bridge, policy = simulation.nodes()
    slow = {"real_time_factor": 0.5}  # what halts the machine for a moment drops no pole
    start(bridge.package, bridge.executable, **bridge.parameters, **slow, auto_reset=False)
    wanted = {"command_interface": command_interface}
    if command_interface == "joint_state":
        wanted["command_topic"] = "joint_commands"
    start(policy.package, policy.executable, **(policy.parameters | wanted))
    until(lambda: session.status.state == "active", "the policy")
    until(lambda: int(figure(session, "accepted_actions") or 0) > 10, "commands to arrive")
    session.reset(seed=7)
    session.configure("mujoco_bridge", mode="realtime")
    until(lambda: figure(session, "episode_over") == "True", "the end of the episode")
    assert not session.frames, "a robot does not say what a policy should see"
    assert np.diff(sorted(session.positions)).min() == pytest.approx(0.01), "every simulator step"
    assert float(figure(session, "episode_return")) > 0.9 * offline(path, 7).total


def test_a_robot_says_its_joints_and_takes_their_commands_in_the_order_of_its_parameter(
    start_bridge, session, until, ask, listen
) -> None:
    from rcl_interfaces.srv import GetParameters
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64MultiArray

    states = listen(JointState, "joint_states")
    keeps = {"time_limit": False, "command_timeout": 0.0}
    start_bridge(interface="ros2_control", task="gym-reacher", mode="realtime", **keeps)
    until(lambda: states, "joint states")
    asked = ask(GetParameters, "mujoco_bridge/get_parameters", names=["joints"])
    assert asked.values[0].string_array_value == ["joint0", "joint1"]
    publisher = session.create_publisher(Float64MultiArray, "mujoco_bridge/commands", 10)
    until(publisher.get_subscription_count, "the bridge's subscription")
    publisher.publish(Float64MultiArray(data=[0.0]))
    until(lambda: figure(session, "refused_actions") == "1", "the refusal")

    def efforts() -> list[float]:
        return [round(effort, 3) for effort in states[-1].effort]

    def told(send: Any, message: Any, wanted: list[float]) -> bool:
        send.publish(message)
        return efforts() == wanted

    array = Float64MultiArray(data=[0.0, 100.0])
    until(lambda: told(publisher, array, [0.0, 100.0, 0.0, 0.0]), "the torque on the second joint")
    one = session.create_publisher(JointState, "joint_commands", 10)
    state = JointState(name=["joint0"], effort=[50.0])
    until(lambda: told(one, state, [50.0, 100.0, 0.0, 0.0]), "the first joint's beside it")
    assert "/observation" not in topics_of(session, "mujoco_bridge")


def test_sensors_at_a_rate_of_their_own(start_bridge, session, until) -> None:
    start_bridge(interface="ros2_control", joint_state_rate=20.0, mode="realtime")
    until(lambda: len(session.positions) > 10, "joint states")
    assert np.diff(sorted(session.positions)).min() == pytest.approx(0.05)


def test_a_model_without_a_task_has_its_sensors_and_takes_commands_by_actuator(
    start_bridge, session, until, ask, listen, model_file: Path
) -> None:
    from geometry_msgs.msg import WrenchStamped
    from nav_msgs.msg import Odometry
    from pwm_interfaces.msg import Action
    from pwm_interfaces.srv import ResetEpisode, StepSimulation
    from sensor_msgs.msg import Imu, JointState
    from std_msgs.msg import Float64

    imu, odometry = listen(Imu, "imu/data"), listen(Odometry, "odom")
    wrench, touch = listen(WrenchStamped, "wrench/_1st_wrist"), listen(Float64, "touch/sole")
    joints = listen(JointState, "joint_states")
    start_bridge(model_file=str(model_file), mode="paused", odom_frame="map", base_frame="trunk")
    until(lambda: session.frames, "the first observation")
    assert (session.frames[-1].task, session.frames[-1].reward) == ("cart", 0.0)

    ask(ResetEpisode, "mujoco_bridge/reset", seed=0, keyframe="standing")
    assert ask(StepSimulation, "mujoco_bridge/step", steps=50).success
    until(lambda: touch and touch[-1].data > 10.0, "the ground under the sole")
    until(lambda: imu and abs(imu[-1].linear_acceleration.z - 9.81) < 0.5, "gravity")
    assert imu[-1].header.frame_id == "imu"
    until(lambda: wrench and abs(wrench[-1].wrench.force.z) > 0.5, "the weight of the arm")
    assert wrench[-1].header.frame_id == "_1st_wrist"

    ask(ResetEpisode, "mujoco_bridge/reset", seed=0, keyframe="tilted")
    until(lambda: odometry and odometry[-1].pose.pose.position.z > 0.4, "the keyframe")
    pose = odometry[-1].pose.pose
    assert (pose.position.z, pose.orientation.z) == pytest.approx((0.5, 0.7071068))
    assert (odometry[-1].header.frame_id, odometry[-1].child_frame_id) == ("map", "trunk")
    assert joints[-1].name == ["shoulder"]

    refused = ask(ResetEpisode, "mujoco_bridge/reset", seed=0, keyframe="tited")
    assert not refused.success
    assert "cart has no keyframe 'tited': its own are standing, tilted" in refused.message

    publisher = session.create_publisher(Action, "action", 10)
    until(publisher.get_subscription_count, "the bridge's subscription")
    step = session.frames[-1].step
    publisher.publish(Action(names=["shoulder_servo"], values=[-0.8], observation_step=step))
    until(lambda: figure(session, "accepted_actions") == "1", "the command")
    ask(StepSimulation, "mujoco_bridge/step", steps=100)
    until(lambda: joints[-1].position[0] == pytest.approx(-0.8, abs=0.15), "the servo")


def test_disturbances_by_parameter_and_a_push_that_blows_the_physics_up(
    start_bridge, session, until, ask, listen
) -> None:
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
    from pwm_interfaces.srv import ResetEpisode, StepSimulation
    from std_msgs.msg import Float64

    from pwm_bringup.session import SessionError

    diagnostics = listen(DiagnosticArray, "/diagnostics")
    factors = listen(Float64, "mujoco_bridge/real_time_factor")
    start_bridge(mode="paused", sensor_bias=0.25)
    until(lambda: figure(session, "sensor_bias") == "0.25", "the bias")
    with pytest.raises(SessionError, match=r"actuator_gain is -1\.0, expected nothing below 0"):
        session.configure("mujoco_bridge", actuator_gain=-1.0)
    with pytest.raises(SessionError, match="push_body 'tail' is none of cart, pole_1"):
        session.configure("mujoco_bridge", push_force=1.0, push_body="tail")

    session.configure("mujoco_bridge", push_force=1e15, push_interval=0.1)
    stopped = ask(StepSimulation, "mujoco_bridge/step", steps=100)
    assert not stopped.success
    assert "physics of cartpole-balance diverged in episode 0 after" in stopped.message

    def level() -> bytes:
        return diagnostics[-1].status[0].level if diagnostics else DiagnosticStatus.OK

    until(lambda: level() == DiagnosticStatus.ERROR, "the diagnostic")
    held = int(figure(session, "step"))
    session.configure("mujoco_bridge", push_force=0.0, mode="realtime")
    until(lambda: figure(session, "mode") == "realtime", "the mode")
    factors.clear()
    until(lambda: len(factors) == 2, "time to pass")
    assert int(figure(session, "step")) == held
    assert {factor.data for factor in factors} == {0.0}
    assert ask(ResetEpisode, "mujoco_bridge/reset", seed=-1).success
    until(lambda: session.frames[-1].step > held + 5, "going on")
    until(lambda: factors[-1].data > 0.1, "the achieved real-time factor")
    until(lambda: level() == DiagnosticStatus.OK, "the end of the diagnostic")


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"interface": "ros2_control", "mode": "lockstep"}, "mode 'lockstep' needs interface pwm"),
        ({"model_file": "/no/such.xml"}, "model_file /no/such.xml does not exist"),
    ],
)
def test_a_start_that_cannot_be_says_why(start_bridge, parameters: dict, reason: str) -> None:
    bridge = start_bridge(**parameters)
    assert bridge.wait(timeout=60) == 2
    assert any(reason in line for line in bridge.tail)


def test_a_camera_that_is_asked_for(start_bridge, session, until, listen) -> None:
    from sensor_msgs.msg import CameraInfo, Image

    from pwm_core.rendering import find_renderer

    if find_renderer() is None:
        bridge = start_bridge(cameras=["fixed"])
        assert bridge.wait(timeout=60) == 2
        assert any("neither EGL nor OSMesa draws" in line for line in bridge.tail)
        return
    images = listen(Image, "camera/fixed/image_raw")
    infos = listen(CameraInfo, "camera/fixed/camera_info")
    start_bridge(cameras=["fixed"], camera_width=64, camera_height=48, mode="realtime")
    until(lambda: images and infos, "a picture")
    picture = np.frombuffer(bytes(images[-1].data), np.uint8).reshape(48, 64, 3)
    assert picture.std() > 5.0, "a picture of one colour shows no cart-pole"
    assert images[-1].header.frame_id == "fixed_optical_frame"
    vertical = 2 * np.degrees(np.arctan(24 / infos[-1].k[4]))
    camera = get_task("cartpole-balance").make_single(0).model.camera("fixed")
    assert vertical == pytest.approx(camera.fovy[0])


def test_a_camera_that_the_model_lacks(start_bridge) -> None:
    bridge = start_bridge(cameras=["back"])
    assert bridge.wait(timeout=60) == 2
    assert any("no camera 'back': its own are fixed, lookatcart" in line for line in bridge.tail)
