# SPDX-License-Identifier: Apache-2.0
"""How commands leave: ``Action`` always, and the message that the robot's controllers take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time
from pwm_interfaces.msg import Action
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from pwm_core.layout import ActionLayout
from pwm_core.sources import TRAJECTORY_FIELDS
from pwm_policy import controller
from pwm_policy.joint_commands import CommandError, JointCommands, driven_joints
from pwm_policy.loop import Command

# Kept for recorders that fall behind, as the bridge does with observations.
STREAM = QoSProfile(depth=50)
SHADOW = "shadow/"
"""Prefix of all topics of a dry run."""

Messages = Callable[[Command, Time], list[Any]]
"""What to send for a command."""


@dataclass(frozen=True)
class _Interface:
    """How commands leave for a robot's controllers."""

    kind: type
    """Type of its messages."""
    messages: Messages
    count: int = 1
    """Messages per command."""


class Outputs:
    """Publishes commands from construction to :meth:`destroy`.

    Reads the parameters ``command_interface``, ``command_topic``, ``controller``, ``joints`` and
    ``dry_run``; :class:`CommandError` where they do not fit ``layout``.
    """

    def __init__(
        self, node: Node, layout: ActionLayout, control_step: float, stopping: threading.Event
    ) -> None:
        """``control_step`` in seconds; ``stopping`` ends the wait for a controller's answer."""
        self._node = node
        self._action = Action(names=list(layout.names))
        settings = _Settings.read(node, stopping)
        self._messages: Messages | None = None
        self.topics = [settings.shadowed("action")]
        """Where commands go."""
        if settings.interface != "action":
            interface = _interface(node, settings, layout, control_step)
            self._messages = interface.messages
            self.topics.append(settings.shadowed(settings.topic))
            # A controller that falls behind must get the newest command whole, never an old one.
            newest = QoSProfile(depth=interface.count)
            self._commands: Publisher = node.create_publisher(
                interface.kind, self.topics[1], newest
            )
        self._actions = node.create_publisher(Action, self.topics[0], STREAM)

    def publish(self, command: Command, stamp: Time) -> None:
        """Send ``command``, to the robot first."""
        if self._messages is not None:
            for message in self._messages(command, stamp):
                self._commands.publish(message)
        self._actions.publish(_fill(self._action, command, stamp))

    def wait_for_receivers(self, seconds: float) -> None:
        """Wait until every receiver has the last command, at most so long for each topic."""
        for publisher in self._publishers():
            publisher.wait_for_all_acked(Duration(seconds=seconds))

    def destroy(self) -> None:
        """Leave the topics."""
        for publisher in self._publishers():
            self._node.destroy_publisher(publisher)

    def _publishers(self) -> list[Publisher]:
        return [self._actions] if self._messages is None else [self._commands, self._actions]


@dataclass(frozen=True)
class _Settings:
    """The parameters, as far as :mod:`pwm_policy.parameters` has checked them."""

    interface: str
    topic: str
    controller: str
    joints: tuple[str, ...]
    dry_run: bool
    stopping: threading.Event

    @classmethod
    def read(cls, node: Node, stopping: threading.Event) -> _Settings:
        interface = node.get_parameter("command_interface").value
        named = node.get_parameter("controller").value
        topic = node.get_parameter("command_topic").value or _default_topic(interface, named)
        joints = tuple(joint for joint in node.get_parameter("joints").value if joint)
        dry_run = node.get_parameter("dry_run").value
        return cls(interface, topic, named, joints, dry_run, stopping)

    def shadowed(self, topic: str) -> str:
        """Return where the commands of ``topic`` go; in a dry run always below the namespace."""
        return SHADOW + topic.lstrip("/") if self.dry_run else topic


def _default_topic(interface: str, named: str) -> str:
    if interface == "joint_state":
        return "joint_commands"
    suffix = "commands" if interface == "forward_command" else "joint_trajectory"
    return f"{named}/{suffix}" if named else suffix


def _interface(
    node: Node, settings: _Settings, layout: ActionLayout, control_step: float
) -> _Interface:
    try:
        joints = _joints(node, settings, layout)
        if settings.interface == "forward_command":
            return _Interface(Float64MultiArray, _forward_command(joints))
        if settings.interface == "joint_trajectory":
            return _Interface(JointTrajectory, _joint_trajectory(joints, control_step))
        return _Interface(JointState, _joint_state(joints), len(set(joints.interpretations)))
    except CommandError as error:
        raise CommandError(f"command interface {settings.interface}: {error}") from error


def _joints(node: Node, settings: _Settings, layout: ActionLayout) -> JointCommands:
    """Return the joints in the receiver's order; in the layout's where messages have names."""
    if settings.controller:
        told = controller.ask(node, settings.controller, settings.stopping)
        if settings.joints and settings.joints != told.joints:
            raise CommandError(
                f"controller {settings.controller} has the joints {', '.join(told.joints)}, "
                f"the parameter `joints` says {', '.join(settings.joints)}"
            )
        joints = JointCommands(layout, told.joints)
        _require_interfaces(settings.controller, told.interfaces, joints)
        if not told.interfaces:
            node.get_logger().warning(
                f"controller {settings.controller} does not say what it commands: that it takes "
                f"{', '.join(sorted(set(joints.interpretations)))} commands could not be checked"
            )
        return joints
    if settings.joints:
        return JointCommands(layout, settings.joints)
    if settings.interface == "forward_command":
        raise CommandError(
            "its messages have no names: say the order with the parameter `joints`, or name the "
            "`controller` to ask"
        )
    return JointCommands(layout, driven_joints(layout))


def _require_interfaces(name: str, interfaces: tuple[str, ...], joints: JointCommands) -> None:
    wrong = sorted(set(joints.interpretations) - set(interfaces))
    if interfaces and wrong:
        raise CommandError(
            f"controller {name} commands {', '.join(interfaces)}, the policy {', '.join(wrong)}"
        )


def _forward_command(joints: JointCommands) -> Messages:
    joints.interpretation("a forward command controller")
    message = Float64MultiArray()

    def messages(command: Command, stamp: Time) -> list[Any]:
        message.data = joints(command.values).tolist()
        return [message]

    return messages


def _joint_trajectory(joints: JointCommands, control_step: float) -> Messages:
    field = TRAJECTORY_FIELDS[joints.interpretation("a trajectory")]
    point = JointTrajectoryPoint(time_from_start=Duration(seconds=control_step).to_msg())
    message = JointTrajectory(joint_names=list(joints.joints), points=[point])

    def messages(command: Command, stamp: Time) -> list[Any]:
        # No stamp: a controller starts at once, whatever its clock says.
        setattr(point, field, joints(command.values).tolist())
        return [message]

    return messages


def _joint_state(joints: JointCommands) -> Messages:
    """One message per interpretation: its arrays are as long as its names, or empty."""
    groups = {
        kind: [number for number, own in enumerate(joints.interpretations) if own == kind]
        for kind in dict.fromkeys(joints.interpretations)
    }
    prepared = {
        kind: JointState(name=[joints.joints[number] for number in numbers])
        for kind, numbers in groups.items()
    }

    def messages(command: Command, stamp: Time) -> list[Any]:
        values = joints(command.values)
        for kind, message in prepared.items():
            message.header.stamp = stamp
            setattr(message, kind, values[groups[kind]].tolist())
        return list(prepared.values())

    return messages


def _fill(message: Action, command: Command, stamp: Time) -> Action:
    """Return ``message``, which has its names, as ``command``."""
    message.header.stamp = stamp
    message.policy = command.policy
    message.policy_epoch = command.epoch
    message.sequence = command.sequence
    message.observation_step = command.observation_step
    message.safe = command.safe
    message.values = command.values.tolist()
    return message
