# SPDX-License-Identifier: Apache-2.0
"""What the policies see: subscriptions that fill the control loop's inbox."""

from __future__ import annotations

import time

import numpy as np
from pwm_interfaces.msg import Observation
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy

from pwm_export.bundle import Bundle
from pwm_policy.guard import ObservationGuard
from pwm_policy.inbox import Inbox, Sample
from pwm_policy.loop_statistics import LoopStatistics

NEWEST = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)


class Inputs:
    """Takes the topic ``observation`` from construction to :meth:`destroy`.

    Messages are ignored except between :meth:`open` and :meth:`close`.
    """

    def __init__(self, node: Node, bundle: Bundle, statistics: LoopStatistics) -> None:
        self._node, self._statistics = node, statistics
        self._guard = ObservationGuard(bundle.observation)
        self._inbox: Inbox | None = None
        self._subscription = node.create_subscription(
            Observation, "observation", self._on_observation, NEWEST
        )

    def open(self) -> Inbox:
        """Return an empty inbox that is filled from now on."""
        self._inbox = Inbox()
        return self._inbox

    def close(self) -> None:
        """Fill no inbox any more."""
        self._inbox = None

    def destroy(self) -> None:
        """Leave the topics."""
        self.close()
        self._node.destroy_subscription(self._subscription)

    def _on_observation(self, message: Observation) -> None:
        inbox = self._inbox
        if inbox is None:
            return
        arrived = time.monotonic()
        data = np.array(message.data, np.float32)
        objection = self._guard.objection(message.layout_hash, data)
        if objection:
            self._statistics.count("refused_inputs")
            self._node.get_logger().warning(
                f"observation ignored: {objection}", throttle_duration_sec=1.0
            )
            return
        inbox.put(Sample(message.step, data, arrived))
