# SPDX-License-Identifier: Apache-2.0
"""The reference of ``benchmarks/control_loop.py``: ONNX Runtime and rclpy with nothing between.

    python -m benchmarks.bare_loop BUNDLE clock|observation [--ros-args ...]

Subscribes, decides and publishes as ``policy_node`` does, without any of its checks.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
from pwm_interfaces.msg import Action, Observation
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from pwm_export.bundle import Bundle

NEWEST = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)


class BareLoop(Node):
    """Answers each observation as it comes, or the newest one at the bundle's rate."""

    def __init__(self, bundle: Bundle, trigger: str, stopping: threading.Event) -> None:
        super().__init__("bare_loop")
        self._bundle = bundle
        self._names = list(bundle.action.names)
        self._newest: Observation | None = None
        self._sequence = 0
        self._actions = self.create_publisher(Action, "action", 50)
        listen = self._answer if trigger == "observation" else self._keep
        self.create_subscription(Observation, "observation", listen, NEWEST)
        self._stopping = stopping
        self.thread = threading.Thread(target=self._run if trigger == "clock" else stopping.wait)
        self.thread.start()

    def _keep(self, message: Observation) -> None:
        self._newest = message

    def _run(self) -> None:
        period, deadline = self._bundle.control_step, time.monotonic()
        while not self._stopping.wait(max(0.0, deadline - time.monotonic())):
            if self._newest is not None:
                self._answer(self._newest)
            deadline += period
            deadline += max(0.0, (time.monotonic() - deadline) // period) * period

    def _answer(self, message: Observation) -> None:
        values = self._bundle.act(np.array(message.data, np.float32))
        self._sequence += 1
        action = Action(
            names=self._names,
            values=values.tolist(),
            sequence=self._sequence,
            observation_step=message.step,
        )
        action.header.stamp = self.get_clock().now().to_msg()
        self._actions.publish(action)


def main() -> None:
    """Run until SIGTERM."""
    path, trigger = rclpy.utilities.remove_ros_args(sys.argv)[1:]
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = BareLoop(Bundle.load(Path(path)), trigger, stopping)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not stopping.is_set():
        executor.spin_once(timeout_sec=0.1)
    node.thread.join()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
