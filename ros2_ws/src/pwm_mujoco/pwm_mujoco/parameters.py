# SPDX-License-Identifier: Apache-2.0
"""The bridge's parameters: description, type, range, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from pwm_core.layout import ActionLayout
from pwm_mujoco.cameras import CameraSettings
from pwm_mujoco.disturbances import Disturbances
from pwm_mujoco.robot_topics import TopicSettings
from pwm_mujoco.stepping import SteppingSettings

MODES = ("lockstep", "realtime", "paused")
INTERFACES = ("pwm", "ros2_control")


def declare(node: Node) -> None:
    """Declare every parameter; values given at start outside their range raise."""
    read_only = {"read_only": True}
    _declare(
        node,
        "task",
        "cartpole-swingup",
        "Task to start with (`pwm tasks` lists them).",
        **read_only,
    )
    _declare(
        node,
        "model_file",
        "",
        "MJCF or URDF file to simulate without a task or reward, instead of `task`.",
        **read_only,
    )
    _declare(
        node,
        "control_step",
        0.02,
        "Seconds per decision of a `model_file`; rounded to its timestep.",
        floating_point_range=[FloatingPointRange(from_value=1e-4, to_value=10.0)],
        **read_only,
    )
    _declare(
        node,
        "interface",
        "pwm",
        "pwm: `observation` with reward, and `action`; ros2_control: what a robot has, sensors "
        "and joint commands only.",
        additional_constraints=f"one of {', '.join(INTERFACES)}",
        **read_only,
    )
    _declare(
        node,
        "seed",
        0,
        "Episode N starts from seed + N unless the reset names a seed.",
        integer_range=[IntegerRange(from_value=0, to_value=2**31 - 1, step=1)],
        **read_only,
    )
    _declare(
        node,
        "mode",
        "realtime",
        "lockstep: one decision per action; realtime: follow the wall clock; paused.",
        additional_constraints=f"one of {', '.join(MODES)}",
    )
    _declare(
        node,
        "real_time_factor",
        1.0,
        "Simulated seconds per wall second in realtime mode.",
        floating_point_range=[FloatingPointRange(from_value=0.01, to_value=100.0)],
    )
    _declare(
        node,
        "command_timeout",
        0.5,
        "Simulated seconds without a new command after which the safe action acts, as in a "
        "controller with a watchdog; in realtime mode only. 0: never.",
        floating_point_range=[FloatingPointRange(from_value=0.0, to_value=3600.0)],
    )
    _declare(
        node, "auto_reset", True, "Start the next episode when one has ended; else hold its end."
    )
    _declare(
        node, "time_limit", True, "End an episode after the task's number of decisions; else never."
    )
    _declare(
        node,
        "clock_rate",
        50.0,
        "At most this many /clock messages per wall second (Hz).",
        floating_point_range=[FloatingPointRange(from_value=1.0, to_value=1000.0)],
        **read_only,
    )
    _declare_topics(node)
    _declare_cameras(node)
    for setting in fields(Disturbances):
        default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
        _declare(node, setting.name, default, setting.metadata["description"])
    _declare(node, "headless", True, "Without MuJoCo's viewer window.", **read_only)


def _declare_topics(node: Node) -> None:
    read_only = {"read_only": True}
    interface = node.get_parameter("interface").value
    _declare(
        node,
        "joint_state_rate",
        0.0,
        "Messages of each sensor per simulated second; 0: per decision (interface pwm), per "
        "simulator step (ros2_control).",
        floating_point_range=[FloatingPointRange(from_value=0.0, to_value=10000.0)],
        **read_only,
    )
    _declare(
        node,
        "ground_truth_odom",
        interface == "pwm",
        "Publish the true pose of a free body on `odom`; a robot has no such sensor.",
        **read_only,
    )
    _declare(node, "base_frame", "base_link", "Frame of the free body in `odom`.", **read_only)
    _declare(node, "odom_frame", "odom", "Frame of its pose.", **read_only)
    _declare(
        node, "imu_frame", "", "Frame of `imu/data`; empty: the name of its site.", **read_only
    )


def _declare_cameras(node: Node) -> None:
    read_only = {"read_only": True}
    pixels = [IntegerRange(from_value=16, to_value=4096, step=1)]
    _declare(
        node,
        "cameras",
        [""],
        "Cameras of the model to draw offscreen; [''] for none.",
        **read_only,
    )
    _declare(node, "camera_width", 320, "Pixels.", integer_range=pixels, **read_only)
    _declare(node, "camera_height", 240, "Pixels.", integer_range=pixels, **read_only)
    _declare(
        node,
        "camera_rate",
        10.0,
        "Pictures of each camera per wall second (Hz), at most.",
        floating_point_range=[FloatingPointRange(from_value=0.1, to_value=200.0)],
        **read_only,
    )


def cameras(node: Node) -> CameraSettings:
    """Return which cameras to draw, and how."""
    return CameraSettings(
        names=[name for name in node.get_parameter("cameras").value if name],
        width=int(node.get_parameter("camera_width").value),
        height=int(node.get_parameter("camera_height").value),
        rate=float(node.get_parameter("camera_rate").value),
    )


def declare_joints(node: Node, action: ActionLayout) -> list[str]:
    """Declare ``joints``, as ros2_control's controllers do, and return the order it says."""
    joints = [channel.joint for channel in action.channels]
    if joints:  # an empty list has no type
        description = "Order of the joints in a forward command."
        _declare(node, "joints", joints, description, read_only=True)
        joints = list(node.get_parameter("joints").value)
    return joints


def stepping(node: Node) -> SteppingSettings:
    """Return how the world is to move."""
    return SteppingSettings(
        mode=node.get_parameter("mode").value,
        real_time_factor=float(node.get_parameter("real_time_factor").value),
        auto_reset=bool(node.get_parameter("auto_reset").value),
        time_limit=bool(node.get_parameter("time_limit").value),
        command_timeout=float(node.get_parameter("command_timeout").value),
    )


def topics(node: Node) -> TopicSettings:
    """Return what the sensors say, where and how often."""
    return TopicSettings(
        rate=float(node.get_parameter("joint_state_rate").value),
        odometry=bool(node.get_parameter("ground_truth_odom").value),
        base_frame=node.get_parameter("base_frame").value,
        odom_frame=node.get_parameter("odom_frame").value,
        imu_frame=node.get_parameter("imu_frame").value,
    )


def disturbances(node: Node, changed: Iterable[Parameter] = ()) -> Disturbances:
    """Return the disturbances as they are, or will be when ``changed`` is set.

    Raises ``ValueError`` naming the parameter that cannot be.
    """
    wanted = {p.name: p.value for p in changed}
    names = [setting.name for setting in fields(Disturbances)]
    values: dict[str, Any] = {n: wanted.get(n, node.get_parameter(n).value) for n in names}
    for name in names:
        if name.endswith("_range"):
            values[name] = tuple(values[name])
    return Disturbances(**values)


def refusal(node: Node, changed: list[Parameter]) -> str:
    """Return why a change of parameters cannot be made; empty if it can."""
    wanted = {p.name: p.value for p in changed}
    mode, interface = (
        wanted.get(name, node.get_parameter(name).value) for name in ("mode", "interface")
    )
    if mode not in MODES:
        return f"mode {mode!r} is none of {', '.join(MODES)}"
    if interface not in INTERFACES:
        return f"interface {interface!r} is none of {', '.join(INTERFACES)}"
    if interface == "ros2_control" and mode == "lockstep":
        return "mode 'lockstep' needs interface pwm: joint commands do not say what they answer"
    return ""


def _declare(
    node: Node, name: str, default: object, description: str, **constraints: object
) -> None:
    descriptor = ParameterDescriptor(name=name, description=description, **constraints)
    node.declare_parameter(name, default, descriptor)
