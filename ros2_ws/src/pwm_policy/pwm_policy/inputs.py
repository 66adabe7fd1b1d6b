# SPDX-License-Identifier: Apache-2.0
"""What the policies see: subscriptions that fill the control loop's inbox."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from pwm_interfaces.msg import Observation
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy, qos_profile_sensor_data
from rclpy.subscription import Subscription

from pwm_core.sources import JOINT_STATES, SOURCES, WHOLE_OBSERVATION, Kind
from pwm_export.bundle import Bundle
from pwm_policy.assembly import Assembler
from pwm_policy.cadence import Cadence
from pwm_policy.guard import ObservationGuard
from pwm_policy.inbox import AssemblingInbox, Inbox, Moment, Sample
from pwm_policy.joint_names import JointNames
from pwm_policy.loop_statistics import LoopStatistics
from pwm_policy.pose import Pose
from pwm_policy.sources import SENSORS, MessageError

STREAM = QoSProfile(depth=50)
NEWEST = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)


class Inputs(ABC):
    """Listens to topics from construction to :meth:`destroy`.

    Inboxes are filled only between :meth:`open` and :meth:`close`, ``pose`` all the time.
    """

    def __init__(
        self,
        node: Node,
        bundle: Bundle,
        joints: JointNames,
        statistics: LoopStatistics,
        pose: Pose,
    ) -> None:
        """Raises ``ContractError`` when no topic can give what ``bundle`` asks for."""
        self._node, self._bundle, self._joints = node, bundle, joints
        self._statistics, self._pose = statistics, pose
        self._subscriptions: list[Subscription] = []
        self._connect()

    @abstractmethod
    def _connect(self) -> None:
        """Subscribe to what the observation is made of, and to what ``pose`` needs."""

    @abstractmethod
    def open(self) -> Inbox:
        """Return an inbox that is filled from now on; an episode begins."""

    @abstractmethod
    def close(self) -> None:
        """Fill no inbox any more."""

    @abstractmethod
    def lack(self) -> str:
        """Return what an observation waits for, in words."""

    def destroy(self) -> None:
        """Leave the topics."""
        self.close()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _subscribe(self, kind: type, topic: str, listen: Callable, qos: QoSProfile) -> None:
        self._subscriptions.append(self._node.create_subscription(kind, topic, listen, qos))

    def _listen_for_pose(self) -> None:
        if self._pose.joints:
            joint_states = SENSORS[JOINT_STATES.topic].message
            self._subscribe(
                joint_states, JOINT_STATES.topic, self._on_joint_states, qos_profile_sensor_data
            )

    def _on_joint_states(self, message: Any) -> None:
        try:
            self._pose.hear(SENSORS[JOINT_STATES.topic].read(message), time.monotonic())
        except MessageError as error:
            self._refuse(JOINT_STATES.topic, str(error))

    def _refuse(self, topic: str, objection: str) -> None:
        self._statistics.count("refused_inputs")
        self._node.get_logger().warning(f"{topic} ignored: {objection}", throttle_duration_sec=1.0)


class ObservationInputs(Inputs):
    """The topic ``observation``: the whole vector, as a simulator knows it."""

    def _connect(self) -> None:
        self._guard = ObservationGuard(self._bundle.observation)
        self._inbox: Inbox | None = None
        self._listen_for_pose()
        self._subscribe(Observation, WHOLE_OBSERVATION.topic, self._on_observation, NEWEST)

    def open(self) -> Inbox:
        self._inbox = Inbox()
        return self._inbox

    def close(self) -> None:
        self._inbox = None

    def lack(self) -> str:
        return WHOLE_OBSERVATION.topic

    def _on_observation(self, message: Observation) -> None:
        inbox = self._inbox
        if inbox is None:
            return
        arrived = time.monotonic()
        data = np.array(message.data, np.float32)
        objection = self._guard.objection(message.layout_hash, data)
        if objection:
            self._refuse(f"{WHOLE_OBSERVATION.topic} of task {message.task!r}", objection)
        else:
            stamp = _seconds(message.header.stamp)
            inbox.put(Sample(message.step, data, arrived, stamp))


class SensorInputs(Inputs):
    """The topics that the bundle's layout names; observations are assembled of them by name.

    Joint states set the pace of a loop that is triggered by observations (without any: the first
    other measurement). Where a simulator publishes ``observation``, its step and episode are heard,
    so that actions can answer a step and no history crosses a reset; its numbers are not.

    What the policy saw is published on ``~/observation`` while somebody listens, after the command.
    """

    def _connect(self) -> None:
        bundle = self._bundle
        timeout = float(self._node.get_parameter("cmd_vel_timeout").value)
        observation = self._joints.observation(bundle.observation)
        self._assembler = Assembler(observation, bundle.action, timeout)
        self._hash = bundle.observation.hash()
        self._seen = self._node.create_publisher(Observation, "~/observation", STREAM)
        self._inbox: AssemblingInbox | None = None
        self._step = 0
        self._pace = _pace(self._assembler.topics)
        self._subscribe(Observation, WHOLE_OBSERVATION.topic, self._on_moment, NEWEST)
        for topic in self._assembler.topics:
            listen = partial(self._on_message, topic)
            self._subscribe(SENSORS[topic].message, topic, listen, qos_profile_sensor_data)
        if JOINT_STATES.topic not in self._assembler.topics:
            self._listen_for_pose()

    def open(self) -> Inbox:
        self._cadence = Cadence(self._bundle.control_step)
        self._inbox = AssemblingInbox(self._assembler, self._step, self._show)
        return self._inbox

    def close(self) -> None:
        if self._inbox is not None and self._inbox.newest is not None:
            self._step = self._inbox.newest.step
        self._inbox = None

    def lack(self) -> str:
        missing = self._assembler.missing()
        if missing:
            return f"never heard {', '.join(missing)}"
        reading, arrived = self._assembler.oldest()
        return f"{reading} is {time.monotonic() - arrived:.2f} s old"

    def destroy(self) -> None:
        super().destroy()
        self._node.destroy_publisher(self._seen)

    def _show(self, sample: Sample) -> None:
        if not self._seen.get_subscription_count():
            return
        message = Observation(
            task=self._bundle.task,
            step=sample.step,
            layout_hash=self._hash,
            data=sample.data.tolist(),
            reward=math.nan,  # nobody knows
            episode_return=math.nan,
        )
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._seen.publish(message)

    def _on_message(self, topic: str, message: Any) -> None:
        arrived, inbox = time.monotonic(), self._inbox
        paces = topic == self._pace and inbox is not None
        stamp = _seconds(message.header.stamp) if paces else 0.0
        try:
            said = SENSORS[topic].read(message)
            objection = self._cadence.objection(stamp, arrived) if paces else ""
            objection = objection or self._assembler.hear(topic, said, arrived)
        except MessageError as error:
            objection = str(error)
        if objection:
            self._refuse(topic, objection)
            return
        if topic == JOINT_STATES.topic:
            self._pose.hear(said, arrived)
        if self._assembler.missing():
            self._node.get_logger().warning(self.lack(), throttle_duration_sec=5.0)
        if paces and inbox is not None:
            beat = self._cadence.hear(stamp, arrived)
            if beat is not None:
                inbox.heard(stamp, arrived, beat.repeated)

    def _on_moment(self, message: Observation) -> None:
        inbox = self._inbox
        if inbox is not None:
            stamp = _seconds(message.header.stamp)
            inbox.mark(Moment(message.step, message.episode, stamp))


INPUTS: dict[str, type[Inputs]] = {
    "observation": ObservationInputs,
    "sensors": SensorInputs,
}
"""By value of the parameter ``observation_source``."""


def _pace(topics: tuple[str, ...]) -> str:
    measured = [topic for topic in topics if SOURCES[topic].kind is Kind.MEASUREMENT]
    return JOINT_STATES.topic if JOINT_STATES.topic in measured else measured[0]


def _seconds(stamp: Time) -> float:
    return stamp.sec + stamp.nanosec * 1e-9
