# SPDX-License-Identifier: Apache-2.0
"""Services that can wait, on a thread and an executor of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

ENDING_SECONDS = 5.0
"""An answer that is under way when the node ends has this long."""


class Beside:
    """Answers services of ``node`` one by one beside its executor, each begun after a tick.

    Loading a bundle takes milliseconds to seconds, and the node's executor must go on delivering
    observations. A coroutine would not do: rclpy's executors poll one that waits, which takes the
    interpreter from the control loop. Hence a hidden node with an executor of its own.

    ``after_tick`` returns when the loop has most of its period before it.
    """

    def __init__(self, node: Node, after_tick: Callable[[], None]) -> None:
        self._node, self._after_tick = node, after_tick
        self._beside = Node(
            f"_{node.get_name()}_beside",
            context=node.context,
            namespace=node.get_namespace(),
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(self._beside)
        self._thread = threading.Thread(target=self._executor.spin, name="beside", daemon=True)

    def create_service(self, kind: type, name: str, callback: Callable, calls: QoSProfile) -> None:
        """Answer ``name``, which is private to the node, by ``callback``."""

        def answer(request: Any, response: Any) -> Any:
            self._after_tick()
            return callback(request, response)

        own = self._node.resolve_service_name(name)
        self._beside.create_service(kind, own, answer, qos_profile=calls)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more, and leave nothing in shared memory."""
        self._executor.shutdown()
        self._thread.join(ENDING_SECONDS)
        self._beside.destroy_node()
