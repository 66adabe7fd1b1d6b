# SPDX-License-Identifier: Apache-2.0
"""Commands as the controllers of a robot take them, from the real node."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pwm_core.layout import ActionLayout
from pwm_core.tasks import get_task

TASK = get_task("cartpole-balance")
CHANNEL = TASK.action.channels[0]
FULL = [100.0, 0.0, 0.0, 0.0, 0.0]
"""An observation that the test's policy answers with the highest command."""


@pytest.fixture
def commands(make_bundle, start_policy, session, until, observe, listen) -> Callable[..., list]:
    """Run a policy that commands 1 all the time; return what arrives on a topic."""

    def run(kind: type, topic: str, **parameters: Any) -> list:
        make_bundle("full", (1.0, 0, 0, 0, 0))
        received = listen(kind, topic)
        start_policy(stale_timeout=60.0, **parameters)  # a busy machine is no fault
        until(lambda: session.status.state == "active", "the node to be active")
        observe(FULL)
        return received

    return run


@pytest.fixture
def controller(session) -> Iterator[Callable[..., None]]:
    """A node with parameters as a ros2_control controller has them, on the session's executor."""
    from rclpy.node import Node

    nodes: list[Node] = []

    def make(name: str, **parameters: Any) -> None:
        node = Node(name, context=session.context)
        for key, value in parameters.items():
            node.declare_parameter(key, value)
        session.executor.add_node(node)
        nodes.append(node)

    yield make
    for node in nodes:
        node.destroy_node()


def limits(tmp_path: Path, text: str) -> str:
    path = tmp_path / "limits.yaml"
    path.write_text(text)
    return str(path)


def test_a_forward_command_has_the_joints_unit(commands, until) -> None:
    from std_msgs.msg import Float64MultiArray

    received = commands(
        Float64MultiArray,
        "effort_controller/commands",
        command_interface="forward_command",
        command_topic="effort_controller/commands",
        joints=[CHANNEL.joint],
    )
    until(lambda: any(m.data[0] != 0.0 for m in received), "a command")
    assert received[-1].data.tolist() == pytest.approx([CHANNEL.gear * 1.0])


def test_a_controller_is_asked_for_its_joints(commands, until, controller) -> None:
    from std_msgs.msg import Float64MultiArray

    controller("cart_controller", joints=[CHANNEL.joint], interface_name="effort")
    received = commands(
        Float64MultiArray,
        "cart_controller/commands",
        command_interface="forward_command",
        controller="cart_controller",
    )
    until(lambda: any(m.data[0] != 0.0 for m in received), "a command")


def test_a_trajectory_is_one_point_a_control_step_ahead(commands, until) -> None:
    from trajectory_msgs.msg import JointTrajectory

    received = commands(JointTrajectory, "joint_trajectory", command_interface="joint_trajectory")
    until(lambda: any(m.points[0].effort[0] != 0.0 for m in received), "a command")
    message = received[-1]
    assert message.joint_names == [CHANNEL.joint]
    assert len(message.points) == 1
    point = message.points[0]
    assert point.effort.tolist() == pytest.approx([CHANNEL.gear])
    assert (len(point.positions), len(point.velocities)) == (0, 0)
    assert point.time_from_start.nanosec == round(TASK.control_step * 1e9)


def test_joint_state_commands_go_by_name(commands, until) -> None:
    from sensor_msgs.msg import JointState

    received = commands(JointState, "joint_commands", command_interface="joint_state")
    until(lambda: any(m.effort[0] != 0.0 for m in received), "a command")
    message = received[-1]
    assert message.name == [CHANNEL.joint]
    assert message.effort.tolist() == pytest.approx([CHANNEL.gear])
    assert (len(message.position), len(message.velocity)) == (0, 0)


TWO_KINDS = ActionLayout(
    (
        CHANNEL,
        replace(CHANNEL, name="tilt", joint="hinge_1", interpretation="position", rate=1e3),
    )
)


def test_both_kinds_of_a_command_arrive_the_last_one_too(
    make_bundle, start_policy, session, until, observe, listen
) -> None:
    from sensor_msgs.msg import JointState

    make_bundle(
        "full",
        np.eye(5, 2) + np.eye(5, 2, 1),
        action=TWO_KINDS.to_json(),
        action_hash=TWO_KINDS.hash(),
    )
    received = listen(JointState, "joint_commands")
    joints = session.create_publisher(JointState, "joint_states", 10)
    node = start_policy(command_interface="joint_state", stale_timeout=60.0)
    until(lambda: session.status.state == "active", "the node to be active")
    observe(FULL)
    found = JointState(name=["hinge_1"], position=[0.0])

    def newest() -> dict[str, float]:
        joints.publish(found)
        return {
            message.name[0]: max(*message.effort, *message.position, 0.0) for message in received
        }

    until(lambda: all(newest().get(name, 0.0) > 0 for name in ("slider", "hinge_1")), "both kinds")
    node.interrupt()
    until(lambda: set(newest().values()) == {0.0}, "the safe action of both kinds as the last word")


def test_a_dry_run_of_an_absolute_topic_stays_below_shadow(commands, until) -> None:
    from sensor_msgs.msg import JointState

    received = commands(
        JointState,
        "shadow/arm/joint_commands",
        command_interface="joint_state",
        command_topic="/arm/joint_commands",
        dry_run=True,
    )
    until(lambda: received, "commands below shadow/")


def test_what_nobody_foresaw_is_told(make_bundle, start_policy, session, until) -> None:
    make_bundle("full")
    start_policy(command_interface="joint_state", command_topic="no topic")
    until(lambda: "cannot configure: Invalid" in session.status.reason, "its type and text")
    assert "no topic" in session.status.reason
    assert session.status.state == "unconfigured"


def test_a_position_that_would_leap_is_refused(
    make_bundle, start_policy, session, until, tmp_path
) -> None:
    rateless = ActionLayout((replace(TWO_KINDS.channels[1], rate=None),))
    make_bundle("full", action=rateless.to_json(), action_hash=rateless.hash())
    start_policy(command_interface="joint_state")
    until(lambda: "tilt command positions without a rate" in session.status.reason, "the reason")


def test_the_wait_for_a_controller_ends_with_the_process(session) -> None:
    from pwm_policy import controller
    from pwm_policy.joint_commands import CommandError

    stopping = threading.Event()
    stopping.set()
    with pytest.raises(CommandError, match="the process ends before controller nobody"):
        controller.ask(session, "nobody", stopping)


def test_a_controller_that_does_not_say_what_it_commands_is_warned_of(
    commands, until, controller, listen
) -> None:
    from rcl_interfaces.msg import Log
    from rclpy.qos import QoSDurabilityPolicy, QoSProfile
    from std_msgs.msg import Float64MultiArray

    kept = QoSProfile(depth=1000, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    said = listen(Log, "/rosout", kept)
    controller("cart_controller", joints=[CHANNEL.joint])
    commands(
        Float64MultiArray,
        "cart_controller/commands",
        command_interface="forward_command",
        controller="cart_controller",
    )
    warning = "cart_controller does not say what it commands"
    until(lambda: any(warning in log.msg for log in said), "the warning")


def test_a_dry_run_reaches_shadow_topics_only(commands, listen, until) -> None:
    from pwm_interfaces.msg import Action
    from sensor_msgs.msg import JointState

    actions, shadows = listen(Action, "action"), listen(Action, "shadow/action")
    moving = listen(JointState, "joint_commands")
    received = commands(
        JointState, "shadow/joint_commands", command_interface="joint_state", dry_run=True
    )
    until(lambda: len(received) > 5 and len(shadows) > 5, "commands below shadow/")
    assert not actions
    assert not moving


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"joints": ["elbow"]}, "joints lack slider, which the policy commands; joints have elbow"),
        ({"joints": ["slider", "elbow"]}, "joints have elbow, which the policy does not command"),
        ({}, "its messages have no names: say the order"),
        ({"controller": "cart_controller"}, "controller cart_controller commands position"),
        (
            {"controller": "cart_controller", "joints": ["elbow"]},
            "has the joints slider, the parameter `joints` says elbow",
        ),
        ({"controller": "jobless_controller"}, "has no parameter `joints`"),
    ],
)
def test_what_does_not_fit_the_contract_is_refused(
    make_bundle, start_policy, session, until, controller, parameters, reason
) -> None:
    controller("cart_controller", joints=["slider"], command_interfaces=["position"])
    controller("jobless_controller")
    make_bundle("full")
    start_policy(command_interface="forward_command", **parameters)
    until(lambda: "cannot configure" in session.status.reason, "the reason")
    assert reason in session.status.reason
    assert session.status.state == "unconfigured"


def test_limits_of_the_robot_hold(commands, until, tmp_path) -> None:
    from pwm_interfaces.msg import Action

    text = f"{CHANNEL.name}: {{low: -0.5, high: 0.5, rate: 5.0}}"
    received = commands(Action, "action", limits_file=limits(tmp_path, text))
    until(lambda: any(m.values[0] > 0.49 for m in received), "the narrower limit")
    assert max(message.values[0] for message in received) == pytest.approx(0.5)
    changes = [
        abs(after.values[0] - before.values[0])
        for before, after in itertools.pairwise(received)
        if after.sequence == before.sequence + 1 and not after.safe
    ]
    assert max(changes) <= 5.0 * TASK.control_step + 1e-9


def test_wider_limits_are_refused(make_bundle, start_policy, session, until, tmp_path) -> None:
    make_bundle("full")
    start_policy(limits_file=limits(tmp_path, f"{CHANNEL.name}: {{high: 2.0}}"))
    expected = f"{CHANNEL.name}: high 2.0 is above the contract's {CHANNEL.high}"
    until(lambda: expected in session.status.reason, "the reason")


def test_another_rate_is_refused(make_bundle, start_policy, session, until) -> None:
    make_bundle("full")
    start_policy(rate=100.0)
    expected = f"policy full decides at {1 / TASK.control_step:g} Hz, the robot expects 100 Hz"
    until(lambda: expected in session.status.reason, "the reason")
