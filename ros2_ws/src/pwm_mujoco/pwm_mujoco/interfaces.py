# SPDX-License-Identifier: Apache-2.0
"""What a bridge says and hears: a simulator with its observation, or a robot with joints only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from geometry_msgs.msg import PointStamped, Twist
from pwm_interfaces.msg import Action, Observation
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from pwm_core import sources
from pwm_mujoco.joint_commands import CommandReader
from pwm_mujoco.messages import observation_message, stamp
from pwm_mujoco.robot_topics import STREAM, RobotTopics
from pwm_mujoco.world import World

COMMAND = QoSProfile(depth=10)
ARRAYS, TRAJECTORIES, JOINT_COMMANDS = "~/commands", "~/joint_trajectory", "joint_commands"
"""Topics of the first two are those of a controller with the bridge's name."""
NamedCommand = tuple[Sequence[str], Sequence[float]]
"""Names of actuators and a value for each."""
Receive = Callable[[str, Callable[[], NamedCommand], int | None], None]
"""``receive(sender, read, step)``: take the command that ``read()`` returns, in answer to
observation ``step`` (None: to the newest)."""


class SimulatorInterface:
    """``observation`` with reward and episode; commands by actuator name answer it."""

    def __init__(self, node: Node, world: World, topics: RobotTopics, receive: Receive) -> None:
        self._world, self._topics, self._receive = world, topics, receive
        self._observations = node.create_publisher(Observation, "observation", STREAM)
        node.create_subscription(Action, "action", self._on_action, COMMAND)

    def decided(self) -> None:
        self._observations.publish(observation_message(self._world))
        self._topics.publish_when_due(self._world)

    def stepped(self) -> None:
        """Say nothing: the policy is asked once per decision."""

    def waiting(self) -> None:
        self._observations.publish(observation_message(self._world))
        self._topics.publish(self._world)

    def _on_action(self, message: Action) -> None:
        self._receive(
            f"action of {message.policy!r}",
            lambda: (message.names, message.values),
            message.observation_step,
        )


class RobotInterface:
    """Sensors at the simulator's rate, and commands to joints as ros2_control takes them.

    Tasks with a goal publish it too, in the place of the operator who would.
    """

    def __init__(
        self,
        node: Node,
        world: World,
        topics: RobotTopics,
        receive: Receive,
        commands: CommandReader,
    ) -> None:
        self._world, self._topics, self._receive = world, topics, receive
        self._goals = {
            topic: node.create_publisher(kind, topic, COMMAND)
            for topic, kind in _GOALS.items()
            if any(channel.topic == topic for channel in world.task.observation.channels)
        }
        for kind, topic, read in (
            (Float64MultiArray, ARRAYS, commands.of_array),
            (JointTrajectory, TRAJECTORIES, commands.of_trajectory),
            (JointState, JOINT_COMMANDS, commands.of_joint_state),
        ):
            node.create_subscription(kind, topic, self._listener(topic, read), COMMAND)

    def decided(self) -> None:
        self.stepped()
        self._publish_goals()

    def stepped(self) -> None:
        self._topics.publish_when_due(self._world)

    def waiting(self) -> None:
        self._topics.publish(self._world)
        self._publish_goals()

    def _listener(self, topic: str, read: Callable[[Any], dict[str, float]]) -> Callable:
        def listen(message: Any) -> None:
            def command() -> NamedCommand:
                # A message may leave out joints, which keep the command they have.
                values = self._world.command | read(message)
                return list(values), list(values.values())

            self._receive(f"command on {topic}", command, None)

        return listen

    def _publish_goals(self) -> None:
        for topic, publisher in self._goals.items():
            publisher.publish(self._goal(topic))

    def _goal(self, topic: str) -> Any:
        """Return the goal that the observation holds, as the operator's message."""
        message = _GOALS[topic]()
        if hasattr(message, "header"):
            message.header.stamp = stamp(self._world.time)
            message.header.frame_id = self._topics.settings.base_frame
        channels = self._world.task.observation.channels
        for channel, value in zip(channels, self._world.observation.tolist(), strict=True):
            if channel.topic == topic and channel.lag == 0:
                vector, axis = channel.field.split(".")
                setattr(getattr(message, vector), axis, (value - channel.offset) / channel.scale)
        return message


_GOALS: dict[str, Any] = {
    sources.TARGET.topic: PointStamped,
    sources.VELOCITY_COMMAND.topic: Twist,
}
"""Topics by which an operator says what to do, and their messages."""
