# SPDX-License-Identifier: Apache-2.0
"""The service that loads bundles, on a thread and an executor of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pwm_interfaces.srv import LoadPolicy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

ENDING_SECONDS = 5.0
"""A load that is under way when the node ends has this long."""


class LoadService:
    """``~/load_policy`` of ``node``, answered one by one beside its executor.

    A load takes milliseconds to seconds, and the node's executor must go on delivering
    observations. A coroutine would not do: rclpy's executors poll one that waits, which takes the
    interpreter from the control loop. Hence a hidden node with an executor of its own.
    """

    def __init__(
        self,
        node: Node,
        answer: Callable[[LoadPolicy.Request, LoadPolicy.Response], LoadPolicy.Response],
        calls: QoSProfile,
    ) -> None:
        self._beside = Node(
            f"_{node.get_name()}_loading",
            context=node.context,
            namespace=node.get_namespace(),
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        name = node.resolve_service_name("~/load_policy")
        self._beside.create_service(LoadPolicy, name, answer, qos_profile=calls)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(self._beside)
        self._thread = threading.Thread(target=self._executor.spin, name="load_policy", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more, and leave nothing in shared memory."""
        self._executor.shutdown()
        self._thread.join(ENDING_SECONDS)
        self._beside.destroy_node()
