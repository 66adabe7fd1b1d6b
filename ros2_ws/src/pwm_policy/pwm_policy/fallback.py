# SPDX-License-Identifier: Apache-2.0
"""What happens when the robot does not move as the policy's world model predicts."""

from __future__ import annotations

import time

from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Float64

from pwm_policy.monitor import NoveltyWatch
from pwm_policy.registry import PolicyError
from pwm_policy.services import PolicyServices
from pwm_policy.slot import PolicySlot
from pwm_policy.status import Status

UNPREDICTED = "the robot does not move as the policy's world model predicts"
HELD = "safe action until another policy is swapped in"


class Fallback:
    """Publishes ``~/novelty``; says when it rises, and hands over if the node is told to."""

    def __init__(
        self, node: Node, slot: PolicySlot, services: PolicyServices, status: Status
    ) -> None:
        self._node, self._slot, self._services, self._status = node, slot, services, status
        self._novelty = node.create_publisher(Float64, "~/novelty", QoSProfile(depth=10))
        self.watch = NoveltyWatch(slot, self._publish, self._on_novelty)
        """Sees every tick."""

    def _publish(self, novelty: float) -> None:
        self._novelty.publish(Float64(data=novelty))

    def _on_novelty(self, novelty: float) -> None:
        reason = f"{self._slot.acting.name}: novelty {novelty:.1f}: {UNPREDICTED}"
        if self._node.get_parameter("on_novelty").value == "fallback":
            reason += f"; {self._hand_over()}"
        self._node.get_logger().warning(reason)
        self._status.say(reason)

    def _hand_over(self) -> str:
        """Leave control to the fallback policy or to the safe action; say which."""
        name = self._node.get_parameter("fallback_policy").value
        if name not in ("", self._slot.acting.name):
            try:
                self._services.swap(name, 0.0, time.monotonic())
            except PolicyError as error:
                self._node.get_logger().error(f"no fallback: {error}")
            else:
                return f"{name} takes over"
        self.watch.hold()
        return HELD
