# SPDX-License-Identifier: Apache-2.0
"""The latched word of the policy node on which policy acts, in which state, and why."""

from __future__ import annotations

import threading

from pwm_interfaces.msg import PolicyStatus
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile

from pwm_policy.emergency_stop import EmergencyStop
from pwm_policy.slot import PolicySlot

LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


class Status:
    """Publishes ``~/status`` whenever something changes, whichever thread says so.

    What was published last is what was last: one word is read, built and published at a time.
    """

    def __init__(self, node: Node, slot: PolicySlot, emergency_stop: EmergencyStop) -> None:
        self._node, self._slot, self._emergency_stop = node, slot, emergency_stop
        self._publisher = node.create_publisher(PolicyStatus, "~/status", LATCHED)
        self._speaking = threading.Lock()
        self.state = "unconfigured"
        """Of the lifecycle, with the transition's name while a robot lands for long."""

    def enter(self, state: str, reason: str) -> None:
        """Say that another state begins."""
        self._node.get_logger().info(reason)
        with self._speaking:
            self.state = state
            self._publish(reason)

    def say(self, reason: str) -> None:
        """Say what is, because of ``reason``."""
        with self._speaking:
            self._publish(reason)

    def _publish(self, reason: str) -> None:
        active, previous = self._slot.active, self._slot.previous
        message = PolicyStatus(
            policy=active.name if active else "",
            task=active.bundle.task if active else "",
            state=self.state,
            policy_epoch=active.epoch if active else 0,
            previous=previous.name if previous else "",
            emergency_stop=self._emergency_stop.latched,
            swap_latency=self._slot.swap_latency,
            reason=reason,
        )
        message.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
